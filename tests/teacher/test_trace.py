"""The stage, through Ray and real HTTP: every pair ends as a row, nothing is asked twice, money stops it."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.errors import ConfigError, EndpointError, RunFolderError, Stopped
from distill.records import Pair, Request, Trace, make_request
from distill.store import read_rows
from teacher.session import PULL, Session
from teacher.settings import TeacherSettings
from teacher.stage import SamplePlan, trace
from tests.teacher.helpers import Server, make_pairs, settings_for
from tests.teacher.http_servers import answering, completion

Serve = Callable[..., Server]
pytestmark = pytest.mark.usefixtures("ray_here")
EACH_USD = (100 * 1.0 + 40 * 2.0) / 1e6


def rows(folder: Path) -> list[Trace]:
    """What was written."""
    return list(read_rows(folder, Trace))


def asked(server: Server) -> int:
    """Requests that the server saw, the preflight aside."""
    return sum(server.kinds().values()) - 1


def test_every_pair_becomes_a_row_in_order_with_the_teachers_verdict(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    pairs = make_pairs(120)
    counts = trace(pairs, settings_for(server, samples=2, seed=7), tmp_path / "traces", quiet=True)
    found = rows(tmp_path / "traces")
    assert [(t.pair_id, t.sample) for t in found] == [(p.pair_id, s) for p in pairs for s in (0, 1)]
    assert all(t.verdict in (0, 1) and "passage states" in t.reasoning and t.error is None for t in found)
    assert (counts["pairs"], counts["samples_due"], counts["answered"], counts["asked_now"]) == (120, 240, 240, 240)
    assert counts["cost_usd"] == pytest.approx(241 * EACH_USD) and counts["completion_tokens"] == 240 * 40
    said = json.loads(found[1].teacher)
    assert said["model"] == "bench" and said["sampling"] == {"temperature": 0.6, "max_tokens": 512, "seed": 8}


def test_as_many_pairs_as_are_in_flight_are_asked_again_when_all_were_asked_once() -> None:
    """So a server that keeps the prompts it has read has read each when its next sample comes."""
    index = SimpleNamespace(expect=list, note_masked=lambda *_: None)
    settings = TeacherSettings.model_validate(
        {"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}], "samples": 2, "seed": 7, "concurrency": 3}
    )
    plan = SamplePlan(settings, SimpleNamespace(index=index, say=print))
    pairs = make_pairs(5)
    order = [
        (next(n for n, pair in enumerate(pairs) if pair.passage in request.messages[0]["content"]), request.sample)
        for request in plan.requests(pairs)
    ]
    assert order == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (4, 0), (3, 1), (4, 1)]
    assert plan.pairs == 5


def test_again_asks_nothing_and_writes_the_same_rows(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    first = trace(make_pairs(30), settings_for(server), tmp_path / "traces", quiet=True)
    elsewhere = settings_for(server, concurrency=5, budget_usd=100, attempts=2)
    again = trace(make_pairs(30), elsewhere, tmp_path / "traces", quiet=True)
    assert (again["asked_now"], again["data_hash"]) == (0, first["data_hash"])
    assert first["unusable_tokens"] == first["preflight_tokens"] > 0, "nothing else was paid for in vain"
    assert asked(server) == 30


def test_another_endpoint_of_the_same_teacher_buys_nothing_again_but_other_sampling_does(
    serve: Serve, tmp_path: Path
) -> None:
    first, second = serve(), serve()
    trace(make_pairs(20), settings_for(first, name="r1"), tmp_path / "traces", quiet=True)
    more = trace(make_pairs(30), settings_for(second, name="r1"), tmp_path / "traces", quiet=True)
    assert more["asked_now"] == 10
    warmer = trace(make_pairs(30), settings_for(second, name="r1", temperature=0.9), tmp_path / "traces", quiet=True)
    assert warmer["asked_now"] == 30 and warmer["rows"] == 30


def test_a_url_in_place_of_the_endpoints_changes_no_id(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    settings = settings_for(server, name="t")
    a = trace(make_pairs(5), settings, tmp_path / "a", quiet=True)
    b = trace(make_pairs(5), settings, tmp_path / "b", base_url=server.url, quiet=True)
    assert a["answered"] == b["answered"] == 5
    assert [t.request_id for t in rows(tmp_path / "a")] == [t.request_id for t in rows(tmp_path / "b")]


def test_a_mix_of_faults_loses_no_row(serve: Serve, tmp_path: Path) -> None:
    kinds = ("429bare", "500", "503", "reset", "broken", "malformed", "empty", "length", "context", "filter")
    server = serve(",".join(f"{kind}=0.03" for kind in kinds))
    counts = trace(make_pairs(300), settings_for(server), tmp_path / "traces", quiet=True)
    found = rows(tmp_path / "traces")
    assert len(found) == 300 and counts["answered"] + counts["failed"] == 300
    assert set(counts["failures"]) == {"context_too_long", "content_filter"}
    assert sum(counts["failures"].values()) == counts["failed"] == sum(t.error is not None for t in found)
    assert all(t.verdict is None for t in found if t.error or t.finish_reason == "length")
    assert counts["unusable_cost_usd"] > 0
    again = trace(make_pairs(300), settings_for(server), tmp_path / "traces", quiet=True)
    assert again["asked_now"] == 0  # permanent failures are not asked again,
    server.change(faults={})
    retried = trace(make_pairs(300), settings_for(server), tmp_path / "traces", quiet=True, retry_failed=True)
    assert retried["asked_now"] == counts["failed"] and retried["failed"] == 0  # unless told


def test_two_pairs_that_ask_the_same_share_one_answer(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    one = Pair("a" * 32, "q", "d", "query with words", "text", None, 1)
    two = Pair("b" * 32, "q", "d", "query", "text", "with words", 1)
    counts = trace([one, two], settings_for(server), tmp_path / "traces", quiet=True)
    assert (counts["rows"], counts["asked_now"], asked(server)) == (2, 1, 1)


def test_more_samples_go_where_the_verdict_is_in_doubt(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    settings = settings_for(server, samples={"first": 1, "then": 4}, seed=0)
    counts = trace(make_pairs(60), settings, tmp_path / "traces", quiet=True)
    by_pair: dict[str, list[Trace]] = {}
    for row in rows(tmp_path / "traces"):
        by_pair.setdefault(row.pair_id, []).append(row)
    assert {len(found) for found in by_pair.values()} == {1, 5}
    assert all((len(found) == 5) == (found[0].verdict != 1) for found in by_pair.values())
    assert counts["samples_due"] == asked(server)
    again = trace(make_pairs(60), settings, tmp_path / "traces", quiet=True)
    assert (again["asked_now"], again["data_hash"]) == (0, counts["data_hash"])
    relabelled = [dataclasses.replace(pair, label=0) for pair in make_pairs(60)]
    other = trace(relabelled, settings, tmp_path / "traces", quiet=True)
    assert 0 < other["asked_now"] < 60 * 4


def test_a_prompt_without_room_is_a_row_and_is_never_sent(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    long = dataclasses.replace(make_pairs(1)[0], pair_id="f" * 32, passage="a word " * 3000)
    settings = settings_for(server, context=1024)
    counts = trace([*make_pairs(5), long], settings, tmp_path / "traces", quiet=True)
    assert (counts["answered"], counts["not_asked"], asked(server)) == (5, 1, 5)
    assert (rows(tmp_path / "traces")[-1].error or "").startswith("not_asked: ")


@pytest.mark.parametrize("key", ["budget_usd", "budget_tokens"])
def test_a_budget_stops_in_time_and_resumes_when_raised(serve: Serve, tmp_path: Path, key: str) -> None:
    server = serve("empty=0.1", mean=0.05)
    budget, each = (50 * EACH_USD, EACH_USD) if key == "budget_usd" else (50 * 140, 140)
    small = settings_for(server, concurrency=8, **{key: budget})
    with pytest.raises(Stopped, match=f"teacher.{key} .* is reached"):
        trace(make_pairs(200), small, tmp_path / "traces", quiet=True)
    billed = sum(kind in ("answer", "empty") for _, _, _, kind in server.get("/log")) * each
    assert budget <= billed + 1e-9 and billed <= budget + 8 * each + 1e-9
    before = asked(server)
    with pytest.raises(Stopped):
        trace(make_pairs(200), small, tmp_path / "traces", quiet=True)
    assert asked(server) == before  # a spent budget asks nothing at all, not even the preflight
    counts = trace(make_pairs(200), settings_for(server, **{key: 1000 * budget}), tmp_path / "traces", quiet=True)
    assert counts["answered"] == 200
    assert max(server.answers().values()) <= 1


def test_a_teacher_without_reasoning_is_noticed_at_once(serve: Serve, tmp_path: Path) -> None:
    server = serve("plain=1")
    with pytest.raises(EndpointError, match="hold no reasoning"):
        trace(make_pairs(500), settings_for(server), tmp_path / "traces", quiet=True)
    assert asked(server) < 150
    settings = settings_for(server, require_reasoning=False)
    assert trace(make_pairs(40), settings, tmp_path / "traces", quiet=True)["answered"] == 40


@pytest.mark.parametrize(
    "fault, told", [("auth=1", "unauthorized"), ("model=1", "no_such_model"), ("down=1", "overloaded")]
)
def test_a_refusal_before_the_first_pair_names_the_endpoint(
    serve: Serve, tmp_path: Path, fault: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(fault)
    with pytest.raises(EndpointError, match=rf"teacher\.endpoints\.0 \({server.url}\): {told}"):
        trace(make_pairs(5), settings_for(server), tmp_path / "traces")
    assert f"passages are sent to {server.url.split('/')[2]}" in capfd.readouterr().err  # before anything is paid


def test_nobody_listening_is_exit_2(tmp_path: Path) -> None:
    nobody = settings_for(Server("http://127.0.0.1:9/v1"))
    with pytest.raises(EndpointError, match="refused"):
        trace(make_pairs(5), nobody, tmp_path / "traces", quiet=True)
    assert EndpointError.exit_code == 2 and Stopped.exit_code == 3


def test_a_teacher_that_goes_away_stops_the_run_and_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve(mean=0.05)
    with Session(settings_for(server, give_up_after_s=1.0), tmp_path) as asking:
        requests = [make_request("bench", [{"role": "user", "content": f"p {n}"}], {}) for n in range(3000)]
        said = asking.ask(requests)
        for _ in range(20):
            next(said)
        server.change(faults={"down": 1})
        with pytest.raises(Stopped, match="no endpoint has answered"):
            list(said)
    server.change(faults={})
    with Session(settings_for(server), tmp_path) as asking:
        answers = list(asking.ask(requests[:200]))
    assert sorted(a.request_id for a in answers) == sorted(r.request_id for r in requests[:200])
    assert max(server.answers().values()) == 1


def test_one_endpoint_away_at_the_start_and_one_put_out_later_leave_the_work_to_the_others(
    serve: Serve, tmp_path: Path
) -> None:
    good, going, nobody = serve(mean=0.03), serve(mean=0.03), Server("http://127.0.0.1:9/v1")
    with Session(settings_for(good, going, nobody, concurrency=16), tmp_path) as asking:
        said = asking.ask([make_request("bench", [{"role": "user", "content": f"p {n}"}], {}) for n in range(400)])
        answers = [next(said) for _ in range(50)]
        going.change(faults={"auth": 1})
        answers += said
        assert any("disabled: unauthorized" in fault for fault in asking.faults)
    assert len(answers) == 400 and not any(answer.error for answer in answers)
    assert sum(good.answers().values()) > sum(going.answers().values()) > 0
    assert max((good.answers() + going.answers()).values()) == 1


def test_when_every_endpoint_is_put_out_the_run_stops_and_can_go_on(serve: Serve, tmp_path: Path) -> None:
    server = serve(mean=0.03)
    requests = [make_request("bench", [{"role": "user", "content": f"p {n}"}], {}) for n in range(300)]
    with Session(settings_for(server, concurrency=8), tmp_path) as asking:
        said = asking.ask(requests)
        next(said)
        server.change(faults={"auth": 1})
        with pytest.raises(Stopped, match="no endpoint is left .*unauthorized"):
            list(said)
    server.change(faults={})
    with Session(settings_for(server, concurrency=8), tmp_path) as asking:
        assert not any(answer.error for answer in asking.ask(requests))


def test_pairs_are_read_as_there_is_room(serve: Serve, tmp_path: Path) -> None:
    server = serve(mean=0.02)
    read = 0

    def source() -> Iterator[Request]:
        nonlocal read
        for number in range(20_000):
            read += 1
            yield make_request("bench", [{"role": "user", "content": f"p {number}"}], {})

    with Session(settings_for(server, concurrency=8), tmp_path) as asking:
        said = asking.ask(source())
        for got in range(1, 101):
            next(said)
            assert read - got <= PULL  # however many there are, no more than this is held
        said.close()


def test_more_samples_later_ask_only_the_new_ones(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    first = trace(make_pairs(15), settings_for(server, seed=1), tmp_path, quiet=True)
    more = trace(make_pairs(15), settings_for(server, seed=1, samples=3), tmp_path, quiet=True)
    assert (first["asked_now"], more["asked_now"], more["rows"]) == (15, 30, 45)
    fewer = trace(make_pairs(15), settings_for(server, seed=1), tmp_path, quiet=True)
    assert (fewer["asked_now"], fewer["data_hash"]) == (0, first["data_hash"])


def test_a_journal_on_a_url_is_found_again_by_another_folder(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    settings = settings_for(server, journal=f"memory://{tmp_path.name}/journal")
    first = trace(make_pairs(20), settings, tmp_path / "one", quiet=True)
    again = trace(make_pairs(25), settings, tmp_path / "two", quiet=True)
    assert (first["asked_now"], again["asked_now"], again["answered"]) == (20, 5, 25)
    assert not list((tmp_path / "two").glob("journal/*"))


def test_a_folder_in_rays_upload_is_refused_with_the_remedy(tmp_path: Path) -> None:
    upload = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    upload.mkdir(parents=True)
    with pytest.raises(RunFolderError, match="temporary copy of the working directory.*--out /shared"):
        trace(make_pairs(1), settings_for(Server("http://127.0.0.1:9/v1")), upload / "runs", quiet=True)


def test_an_unset_key_is_told_by_its_name(serve: Serve, tmp_path: Path) -> None:
    endpoint = {"base_url": serve().url, "model": "bench", "api_key_env": "NOT_SET_ANYWHERE"}
    settings = settings_for(endpoints=[endpoint])
    with pytest.raises(ConfigError, match=r"teacher\.endpoints\.0\.api_key_env names NOT_SET_ANYWHERE"):
        trace(make_pairs(2), settings, tmp_path / "traces", quiet=True)


def test_without_a_terminal_plain_lines_say_where_passages_go_and_how_it_stands(
    serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    trace(make_pairs(20), settings_for(server), tmp_path / "traces", total=20)
    said = capfd.readouterr().err
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert f"passages are sent to {host} (bench)" in said
    assert "in flight" in said and "tokens/s" in said and "USD" in said


@pytest.mark.parametrize("killed", [[0], [0, 1]])
def test_several_workers_share_the_work_and_killed_ones_are_replaced_and_counted(
    serve: Serve, tmp_path: Path, killed: list[int]
) -> None:
    import ray

    server = serve(mean=0.05)
    requests = [make_request("bench", [{"role": "user", "content": f"p {n}"}], {}) for n in range(1500)]
    with Session(settings_for(server, workers=2), tmp_path) as asking:
        said = asking.ask(requests)
        answers = []
        for number in killed:
            answers += [next(said) for _ in range(200)]
            assert asking.actors is not None
            ray.kill(asking.actors.actors[number])
        answers += said
        assert asking.faults["worker_lost"] == len(killed)
    assert Counter(a.request_id for a in answers) == Counter(r.request_id for r in requests)
    twice = sum(count - 1 for count in server.answers().values())
    assert twice <= 16 * len(killed)  # what each dead worker had in flight, or had not handed over


def test_an_unknown_word_for_the_end_is_told_once_and_counted_and_the_answers_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(lambda _: completion(finish="Fertig")) as (url, _):
        counts = trace(make_pairs(30), settings_for(Server(url)), tmp_path)
    rows = list(read_rows(tmp_path, Trace))
    assert {(row.finish_reason, row.verdict, row.error) for row in rows} == {("stop", 1, None)}
    assert counts["unknown_finishes"] == {"Fertig": 30}
    assert capsys.readouterr().err.count("finish_reason 'Fertig', which is unknown here") == 1
