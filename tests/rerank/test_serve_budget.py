"""An answer within a budget of milliseconds: directly first, thinking where unsure, what is not judged is marked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.records import Judgement, Pair, make_pair
from distill.rerank.calibration import Calibration, Curve
from distill.rerank.modes import JudgementPlan, TimedPlans, Window
from distill.rerank.reranker import Reranker
from distill.rerank.serve import timed
from distill.rerank.serve.engine_thread import EngineThread
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.timed import Pace
from tests.rerank.serving import Scripted, post, score_of, serving, until
from tests.rerank.test_serve import in_background

ENDLESS_MS = 600_000
TEXTS = [f"the red fox runs {n} times" for n in range(6)]
ASKED = {"query": "red fox", "documents": TEXTS}
PLANS = TimedPlans(JudgementPlan("direct", in_order=True), None, Window())


class Halting(Scripted):
    """An engine that judges so many pairs and no more, and knows the plans that it was given."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most_judged, self.plans = most, list[Any]()

    def submit(self, pairs: Sequence[Pair], done: Any, one: Any = None, plan: Any = None) -> int:
        """Take note of the plan."""
        self.plans.append(plan)
        return super().submit(pairs, done, one, plan)

    def step(self) -> bool:
        """Nothing once enough is judged."""
        if len(self.order) >= self.most_judged:
            time.sleep(0.001)
            return bool(self._open)
        return super().step()


@pytest.mark.parametrize("most", [0, 2, 6])
def test_what_is_not_judged_in_time_comes_last_in_its_order_and_is_marked(most: int) -> None:
    engine = Halting(most)
    with serving(engine, timed=PLANS) as server:
        status, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": ENDLESS_MS if most == 6 else 400})
        judged = 6 - answer["meta"].get("unjudged", 0)
        assert status == 200 and (judged == most or judged < most < 6), "fewer only where the machine is slow"
        scores = [score_of("red fox", text) for text in TEXTS]
        best = sorted(range(judged), key=lambda at: -scores[at])
        rows = answer["results"]
        assert [row["index"] for row in rows] == [*best, *range(judged, 6)]
        assert [row["relevance_score"] for row in rows] == [scores[at] for at in best] + [0.0] * (6 - judged)
        assert [row["mode"] for row in rows] == ["think"] * judged + ["unjudged"] * (6 - judged)
        until(lambda: not engine.running and server.desk.waiting == 0)
        assert engine.plans == [PLANS.direct]


def test_text_embeddings_inference_and_scores_have_a_budget_too() -> None:
    with serving(Halting(0), timed=PLANS) as server:
        _, answer, _ = post(
            server.url + "/rerank", {"query": "q", "texts": TEXTS[:2], "budget_ms": 30, "raw_scores": True}
        )
        assert answer == [{"index": 0, "score": -1000.0}, {"index": 1, "score": -1000.0}]
        _, answer, _ = post(server.url + "/score", {"text_1": "q", "text_2": TEXTS[:2], "budget_ms": 30})
        assert [row["score"] for row in answer["data"]] == [0.0, 0.0]
    with serving(Scripted()) as server:
        _, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": 30})
        assert answer["meta"]["warnings"] == ["budget_ms has no effect here"]
        status, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": 0})
        assert status == 422 and "budget_ms" in answer["message"]


@pytest.fixture(scope="module")
def reranker(tiny: Path) -> Reranker:
    """A student that thinks, with a calibration that puts both kinds of answers on one scale."""
    curves = {"adaptive.direct": Curve("platt", 2.0, 0.5), "adaptive.think": Curve("platt", 0.5, -0.5)}
    return Reranker(str(tiny), "think", max_new_tokens=12, calibration=Calibration(curves))


def windows(reranker: Reranker) -> Iterator[tuple[Window, int]]:
    """Windows, and how many of the six passages they leave to thinking."""
    direct = Reranker(reranker.backend, "direct", calibration=None)
    margins = sorted(judgement.margin for judgement in direct.predict([("red fox", text) for text in TEXTS]))
    yield Window(-1e9, 1e9), 6
    yield Window(margins[0], margins[0]), 0
    yield Window((margins[1] + margins[2]) / 2, (margins[4] + margins[5]) / 2), 3
    yield Window(-1e9, 1e9, top=2), 2


def test_with_time_enough_it_answers_as_mode_adaptive_does(reranker: Reranker) -> None:
    for window, thought in windows(reranker):
        chosen = Reranker(
            reranker.backend, "adaptive", max_new_tokens=12, calibration=reranker.calibration, window=window
        )
        pairs = [make_pair("0", str(at), "red fox", text) for at, text in enumerate(TEXTS)]
        expected = chosen.predict(pairs)
        served = Reranker(reranker.backend, "think", max_new_tokens=12, calibration=reranker.calibration, window=window)
        with serving(served.stream(), timed=served.timed_plans()) as server:
            _, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": ENDLESS_MS})
        rows = {row["index"]: row for row in answer["results"]}
        assert [rows[at]["mode"] for at in range(6)] == [each.mode.removeprefix("adaptive.") for each in expected]
        assert sum(row["mode"] == "think" for row in rows.values()) == thought
        for at, judgement in enumerate(expected):
            assert rows[at]["relevance_score"] == pytest.approx(judgement.score, abs=1e-4)
        order = sorted(range(6), key=lambda at: -expected[at].margin)
        assert [row["index"] for row in answer["results"]] == order


def test_a_student_that_answers_directly_is_never_let_think(tiny: Path) -> None:
    direct = Reranker(str(tiny), "direct")
    assert direct.timed_plans().think is None
    with serving(direct.stream(), timed=direct.timed_plans()) as server:
        _, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": ENDLESS_MS})
        assert {row["mode"] for row in answer["results"]} == {"direct"}


def test_thinking_gives_way_to_pairs_that_are_read_directly(reranker: Reranker) -> None:
    requests, plans = reranker.stream(), reranker.timed_plans()
    assert plans.think is not None
    pairs = [make_pair("q", str(at), "red fox", f"the dog {at}") for at in range(300)]
    done: list[str] = []
    requests.submit(pairs, lambda error: done.append("think"), plan=replace(plans.think, limit=100))
    for _ in range(3):
        requests.step()
    assert 0 < requests.running < 300
    requests.submit(pairs, lambda error: done.append("direct"), plan=plans.direct)
    while not done:
        requests.step()
    assert done == ["direct"]
    requests.clear()


def test_what_is_read_in_time_does_not_wait_until_others_have_thought(reranker: Reranker) -> None:
    requests, plans = reranker.stream(), reranker.timed_plans()
    busy = [make_pair("q", str(at), "red fox", f"the dog {at}") for at in range(300)]
    thinking = JudgementPlan("think", limit=100)
    done: list[str] = []
    requests.submit(busy, lambda error: done.append("think"), plan=thinking)
    for _ in range(3):
        requests.step()
    assert reranker.backend.free < 1, "the engine has no room"
    requests.submit(busy[:30], lambda error: done.append("direct"), plan=plans.direct)
    while not done:
        requests.step()
    assert done == ["direct"]
    requests.clear()


def test_thoughts_end_while_more_is_read_in_time_than_can_be(reranker: Reranker) -> None:
    requests, plans = reranker.stream(), reranker.timed_plans()
    pairs = [make_pair("q", str(at), "red fox", f"the dog {at}") for at in range(20)]
    done: list[str] = []
    requests.submit(pairs[:2], lambda error: done.append("think"), plan=JudgementPlan("think", limit=3))
    while "think" not in done:
        if requests.waiting < 40:
            requests.submit(pairs, lambda error: done.append("direct"), plan=plans.direct)
        requests.step()
        assert len(done) < 300, "the thoughts never end"
    requests.clear()


def test_where_nobody_chose_what_is_unsure_time_that_is_left_goes_to_all(tiny: Path) -> None:
    student = Reranker(str(tiny), "think", max_new_tokens=12)
    plans = replace(student.timed_plans(), window=Window(0.0, 0.0))
    with serving(student.stream(), timed=plans) as server:
        _, answer, _ = post(server.url + "/rerank", {**ASKED, "budget_ms": ENDLESS_MS})
    assert {row["mode"] for row in answer["results"]} == {"think"}


def test_a_thought_is_not_begun_that_cannot_end_in_time_and_is_tried_again_later() -> None:
    pace = Pace()
    assert pace.can_think(0.01) and not pace.can_think(-0.01), "nothing is known yet"
    pace.thought(0.2, True)
    assert pace.can_think(0.3) and not pace.can_think(0.05)
    pace.thought(0.4, False)
    assert not pace.can_think(0.3)
    tries = sum(not pace.can_think(0.3) for _ in range(100))
    assert 0 < tries < 100
    before = pace.reserve_s
    for _ in range(50):
        pace.woke(0.05)
    assert pace.reserve_s > max(before, 0.05), "answers that come late are begun earlier"
    for _ in range(50):
        pace.woke(0.0)
    assert pace.reserve_s < before


def test_what_is_read_in_time_does_not_wait_in_the_engine_behind_others(reranker: Reranker) -> None:
    """Else, under more requests than can be read, all rows would be given up just before their turn."""
    requests, plan = reranker.stream(), reranker.timed_plans().direct
    judged: list[tuple[int, int]] = []
    for number in range(40):
        pairs = [make_pair("q", str(at), f"red fox {number}", f"the dog {at}") for at in range(5)]
        requests.submit(pairs, lambda error: None, lambda at, _, number=number: judged.append((number, at)), plan)
    requests.step()
    assert 0 < len(judged) + requests.running <= 16
    while len(judged) < 40:
        requests.step()
    assert len({number for number, _ in judged[:40]}) >= 38, "each request has its first passages read early"
    assert max(at for _, at in judged[:40]) <= 1, "in the order given"
    requests.clear()


def test_a_busy_server_lowers_the_mode_before_it_refuses() -> None:
    engine = Halting(100)
    think = JudgementPlan("think")
    plans = TimedPlans(JudgementPlan("direct"), think, Window())
    engine.gate.clear()
    with serving(engine, ServeSettings(max_waiting=20, shed_share=0.5, client_share=1), timed=plans) as server:
        threads = []
        for number in range(3):
            threads.append(in_background(server.url + "/v1/rerank", ASKED))
            until(lambda number=number: server.desk.waiting == 6 * (number + 1))
        assert post(server.url + "/v1/rerank", ASKED)[0] == 429
        engine.gate.set()
        for thread, answers in threads:
            thread.join()
            assert answers[0][0] == 200
    assert engine.plans == [None, plans.direct, plans.direct]


class LateEngine:
    """Judges what it is asked in `takes` seconds or the time it is given, and goes on `late` seconds after that."""

    def __init__(self) -> None:
        self.now, self.late, self.takes = 100.0, 0.0, 60.0

    def monotonic(self) -> float:
        return self.now

    async def judge_until(
        self, pairs: Sequence[Pair], client: str, plan: Any, seconds: float
    ) -> list[Judgement | None]:
        if seconds <= 0:
            return [None] * len(pairs)
        self.now += min(seconds, self.takes) + self.late
        return [Judgement("0", pair.doc_id, 0.5, 0.0, 1, "", "direct", 1, "stop") for pair in pairs]


@pytest.mark.parametrize("takes", [60.0, 0.01])
def test_one_late_moment_does_not_leave_later_requests_unjudged(takes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pace = LateEngine(), Pace()
    monkeypatch.setattr(timed, "time", engine)
    pairs = [make_pair("0", str(n), "red fox", text) for n, text in enumerate(TEXTS)]

    def ask(late: float) -> set[str]:
        engine.late = late
        judged = timed.judged_within(cast(EngineThread, engine), PLANS, pairs, "me", engine.now + 0.3, pace)
        return {judgement.mode for judgement in asyncio.run(judged)}

    usual = pace.reserve_s
    ask(2.0)
    assert pace.reserve_s > 0.3, "longer than the whole budget"
    engine.takes = takes
    assert [ask(0.001 if takes > 1 else 0.0) for _ in range(60)] == [{"direct"}] * 60
    assert pace.reserve_s < (2 * usual if takes > 1 else 0.15), "at most half of a budget is kept back"


def test_a_request_that_comes_too_late_to_be_read_does_not_count_as_a_late_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, pace = LateEngine(), Pace()
    monkeypatch.setattr(timed, "time", engine)
    usual = pace.reserve_s
    for _ in range(50):
        judged = timed.judged_within(cast(EngineThread, engine), PLANS, [], "me", engine.now - 5.0, pace)
        assert asyncio.run(judged) == []
    assert pace.reserve_s <= usual
