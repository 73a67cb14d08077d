"""One worker against a server that misbehaves: every fault the issue names, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from distill.records import make_request
from teacher.actors import make_worker
from teacher.messages import WorkerReport
from teacher.settings import TeacherSettings
from tests.teacher.helpers import Server, settings_for

Serve = Callable[..., Server]


def ask(
    settings: TeacherSettings, count: int, usd: float = float("inf")
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[WorkerReport]]:
    """(answers by id, bills, deliveries) of `count` requests at one desk."""

    async def work() -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[WorkerReport]]:
        desk = make_worker(settings, settings.endpoints, [SecretStr("")] * len(settings.endpoints))
        requests = [make_request("t", [{"role": "user", "content": f"prompt {n}"}], {}) for n in range(count)]
        todo = [(r.request_id, r.messages, r.sampling, r.purpose) for r in requests]
        deliveries = [await desk.exchange(todo, usd)]
        while desk.busy and (usd == float("inf") or deliveries[-1].in_flight or deliveries[-1].lines):
            left = usd - sum(delivery.usd for delivery in deliveries)
            deliveries.append(await desk.exchange([], left))
        for client, _ in desk.places:
            await client.close()
        return {}, [], deliveries

    _, _, deliveries = asyncio.run(work())
    lines = [json.loads(line) for delivery in deliveries for line in delivery.lines]
    return {l["id"]: l for l in lines if "id" in l}, [l for l in lines if "bill" in l], deliveries  # noqa: E741


@pytest.mark.parametrize("kind", ["429bare", "500", "502", "503", "reset", "broken", "malformed", "429", "hang"])
def test_a_passing_fault_costs_no_row(serve: Serve, kind: str) -> None:
    server = serve(f"{kind}=0.2")
    answers, bills, _ = ask(settings_for(server, deadline_s=0.5 if kind == "hang" else 10), 40)
    assert len(answers) == 40 and not any(line.get("error") for line in answers.values())
    assert server.kinds()[kind] > 0 and all(count == 1 for count in server.answers().values())
    billed = {"broken": "broken_off", "malformed": "malformed", "hang": "deadline"}.get(kind)
    assert {bill["kind"] for bill in bills} == ({billed} if billed else set())
    assert all(bill["estimated"] and bill["cost_usd"] > 0 for bill in bills)


@pytest.mark.parametrize(
    "kind, name", [("context", "context_too_long"), ("filter", "content_filter"), ("bad", "bad_request")]
)
def test_a_bad_row_is_recorded_once_and_stalls_nobody(serve: Serve, kind: str, name: str) -> None:
    server = serve(f"{kind}=0.3")
    answers, _, _ = ask(settings_for(server), 60)
    failed = [line for line in answers.values() if line.get("error")]
    assert len(answers) == 60 and 5 < len(failed) < 40
    assert {line["error"].split(":")[0] for line in failed} == {name}
    assert sum(server.kinds().values()) == 60  # nothing was asked twice
    assert all(line["cost_usd"] == 0 for line in failed)


def test_attempts_run_out_and_the_failure_names_its_kind(serve: Serve) -> None:
    server = serve("500=0.999999")
    server_ok = settings_for(server, attempts=2)
    answers, _, _ = ask(server_ok, 3)
    assert len(answers) == 3
    assert all(
        line["error"].startswith("server_error: HTTP 500") and "2 attempts" in line["error"]
        for line in answers.values()
    )


def test_an_empty_answer_is_asked_once_more_and_then_is_an_answer(serve: Serve) -> None:
    server = serve("empty=0.999999")
    answers, bills, _ = ask(settings_for(server), 5)
    assert len(answers) == 5 and not any(line.get("error") for line in answers.values())
    assert sum(server.kinds().values()) == 10 and len(bills) == 5


def test_a_truncated_answer_is_an_answer(serve: Serve) -> None:
    server = serve("length=0.999999")
    answers, bills, _ = ask(settings_for(server), 5)
    assert {line["finish_reason"] for line in answers.values()} == {"length"}
    assert sum(server.kinds().values()) == 5 and not bills
    assert all(line["reasoning"] and not line["content"] for line in answers.values())


@pytest.mark.parametrize("style", ["", "inline=1"])
def test_reasoning_is_read_wherever_it_stands(serve: Serve, style: str) -> None:
    answers, _, deliveries = ask(settings_for(serve(style)), 3)
    assert all(
        "passage states" in line["reasoning"] and "<think>" not in line["reasoning"] for line in answers.values()
    )
    assert {line["content"] for line in answers.values()} <= {"true", "false"}
    assert (deliveries[-1].answered, deliveries[-1].reasoned) == (3, 3)


def test_tokens_that_nobody_counted_are_estimated_and_marked(serve: Serve) -> None:
    answers, _, _ = ask(settings_for(serve("nousage=1")), 2)
    assert all(
        line["estimated"] and line["completion_tokens"] > 20 and line["cost_usd"] > 0 for line in answers.values()
    )


def test_what_was_reported_is_what_is_billed(serve: Serve) -> None:
    answers, _, _ = ask(settings_for(serve(tokens=40)), 2)
    assert all(
        line["cost_usd"] == pytest.approx((100 * 1.0 + 40 * 2.0) / 1e6) and not line["estimated"]
        for line in answers.values()
    )


def test_the_allowance_is_overshot_by_no_more_than_what_is_in_flight(serve: Serve) -> None:
    server = serve(mean=0.02, sigma=0.5)
    each = (100 + 40 * 2) / 1e6
    _, _, deliveries = ask(settings_for(server, concurrency=8), 200, usd=20 * each)
    spent = sum(delivery.usd for delivery in deliveries)
    assert 20 * each <= spent + 1e-12 and spent <= (20 + 8) * each + 1e-12


def test_no_more_in_flight_than_allowed(serve: Serve) -> None:
    server = serve(mean=0.05)
    ask(settings_for(server, concurrency=7), 60)
    assert server.get("/stats")["peak"] == 7
    limited = serve(mean=0.05)
    settings = settings_for(limited, concurrency=30)
    settings = settings.model_copy(update={"endpoints": [settings.endpoints[0].model_copy(update={"in_flight": 5})]})
    ask(settings, 40)
    assert limited.get("/stats")["peak"] == 5


def test_requests_a_minute_are_kept(serve: Serve) -> None:
    server = serve(mean=0.001)
    settings = settings_for(server)
    settings = settings.model_copy(
        update={"endpoints": [settings.endpoints[0].model_copy(update={"requests_per_minute": 1200.0})]}
    )
    began = time.monotonic()
    ask(settings, 50)
    assert time.monotonic() - began > 1.2  # 20 a second, the first second's worth at once


def test_load_goes_to_whoever_has_room_and_the_other_takes_over(serve: Serve) -> None:
    fast, slow, away = serve(mean=0.01), serve(mean=0.1), serve("down=1")
    answers, _, _ = ask(settings_for(fast, slow, away, concurrency=24), 300)
    assert len(answers) == 300 and not any(line.get("error") for line in answers.values())
    assert sum(fast.answers().values()) > 2 * sum(slow.answers().values()) > 0
    assert (fast.answers() + slow.answers()).most_common(1)[0][1] == 1


def test_an_endpoint_that_comes_back_is_used_again_and_no_row_pays_for_its_absence(serve: Serve) -> None:
    server = serve("down=1")

    async def work() -> dict[str, Any]:
        settings = settings_for(server, attempts=2)
        desk = make_worker(settings, settings.endpoints, [SecretStr("")])
        requests = [make_request("t", [{"role": "user", "content": f"prompt {n}"}], {}) for n in range(100)]
        lines = (await desk.exchange([(r.request_id, r.messages, r.sampling, r.purpose) for r in requests])).lines
        server.change(faults={})
        while desk.busy:
            lines += (await desk.exchange([])).lines
        await desk.places[0][0].close()
        return {l["id"]: l for l in map(json.loads, lines) if "id" in l}  # noqa: E741

    answers = asyncio.run(work())
    assert len(answers) == 100
    assert sum(bool(line.get("error")) for line in answers.values()) <= 9  # those that found out that it was away


def test_a_server_that_bears_less_is_found_out(serve: Serve) -> None:
    server = serve("bear=12", mean=0.02)
    answers, _, deliveries = ask(settings_for(server, concurrency=96), 1500)
    assert len(answers) == 1500 and not any(line.get("error") for line in answers.values())
    tail = [delivery.window for delivery in deliveries if delivery.in_flight][-10:]
    assert max(tail) < 48
    assert server.kinds()["429bare"] < 1500
