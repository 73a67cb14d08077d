"""Asking in general, over real HTTP: one journal, one budget, several calls, kills in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError, RunFolderError, Stopped
from distill.records import Answer, Ask
from teacher.asker import Asker, asker
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for

Serve = Callable[..., Server]
pytestmark = pytest.mark.usefixtures("ray_here")
EACH_USD = (100 * 1.0 + 40 * 2.0) / 1e6


def grades(ask: Ask, numbers: range, purpose: str = "grade") -> list[Answer]:
    """Ask some questions; the answers in their order."""
    requests = [ask.request(f"grade {n}", purpose=purpose, max_tokens=64) for n in numbers]
    found = {answer.request_id: answer for answer in ask(requests)}
    return [found[request.request_id] for request in requests]


def lines(folder: Path) -> list[dict[str, Any]]:
    """The journal."""
    return [
        json.loads(raw) for part in sorted(folder.glob("journal/*.jsonl")) for raw in part.read_bytes().splitlines()
    ]


def test_calls_of_one_session_share_journal_and_account(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    events: list[dict[str, Any]] = []
    with asker(settings_for(server), tmp_path, stage="pairs", notify=events.append, quiet=True) as ask:
        assert not server.get("/log")  # nothing is sent before something is asked
        first = grades(ask, range(20))
        again = grades(ask, range(10, 30), purpose="judge")
        counts = ask.counts()
    assert [a.content for a in first[10:]] == [a.content for a in again[:10]]
    assert all("passage states" in a.reasoning and a.content in ("true", "false") for a in first)
    assert all(a.sampling == {"temperature": 0.6, "max_tokens": 64} for a in first)
    assert (counts["asked_now"], counts["known"], counts["failed_now"]) == (30, 10, 0)
    assert counts["cost_usd"] == pytest.approx(31 * EACH_USD)  # the preflight too
    written = lines(tmp_path)
    assert all(line["stage"] == "pairs" for line in written)
    assert sorted(line["purpose"] for line in written if "id" in line) == ["grade"] * 20 + ["judge"] * 10
    assert events and all(event["stage"] == "pairs" for event in events)


def test_stages_share_one_journal_and_one_budget(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    trace(make_pairs(20), settings_for(server), tmp_path, quiet=True)
    tight = settings_for(server, concurrency=4, budget_usd=40 * EACH_USD)
    with (
        asker(tight, tmp_path, stage="filter", quiet=True) as ask,
        pytest.raises(Stopped, match=r"teacher\.budget_usd"),
    ):
        grades(ask, range(500))
    billed = len(server.get("/log"))
    assert 40 <= billed <= 44
    own = settings_for(server, concurrency=4, budgets={"evaluate": {"tokens": 10 * 140}})
    with asker(own, tmp_path, stage="evaluate", quiet=True) as ask:
        with pytest.raises(Stopped, match=r"teacher\.budgets\.evaluate\.tokens 1,400 is reached"):
            grades(ask, range(1000, 1500))
        assert 10 <= ask.counts()["tokens"] / 140 <= 14
    assert len(server.get("/log")) <= billed + 14
    with asker(own, tmp_path, stage="pairs", quiet=True) as ask:  # another stage's account is its own
        assert len(grades(ask, range(30))) == 30
    assert max(server.answers().values()) == 1


def test_a_call_within_a_call_and_one_left_half_way_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve(mean=0.03)
    with asker(settings_for(server, concurrency=8), tmp_path, stage="filter", quiet=True) as ask:
        outer = [ask.request(f"outer {n}", purpose="judge") for n in range(60)]
        inner: list[Answer] = []
        seen: list[Answer] = []
        for answer in ask(outer):
            seen.append(answer)
            if len(seen) % 10 == 1:
                inner += ask([ask.request(f"inner {len(seen)}", purpose="judge"), outer[-1]])
        assert {a.request_id for a in seen} == {r.request_id for r in outer} and len(seen) == 60
        assert len(inner) == 12
        left = ask(ask.request(f"left {n}", purpose="judge") for n in range(5000))
        next(left)
        left.close()
        assert len(grades(ask, range(40))) == 40
    assert max(server.answers().values()) == 1
    assert sum(server.answers().values()) < 300  # what was left half-way is not asked to its end


def test_what_fails_for_good_is_an_answer_with_its_error(serve: Serve, tmp_path: Path) -> None:
    server = serve("bad=0.3")
    with asker(settings_for(server), tmp_path, stage="pairs", quiet=True) as ask:
        answers = grades(ask, range(40))
        assert 0 < ask.counts()["failed_now"] == sum(a.error is not None for a in answers) < 40
    assert {a.error.split(":")[0] for a in answers if a.error} == {"bad_request"}


def test_killed_and_called_again_it_goes_on(serve: Serve, tmp_path: Path) -> None:
    server = serve(mean=0.1)
    settings = settings_for(server, concurrency=8)
    code = (
        "import sys\nfrom pathlib import Path\nfrom teacher.asker import asker\n"
        "from teacher.settings import TeacherSettings\n"
        "s = TeacherSettings.model_validate_json(sys.argv[1])\n"
        "with asker(s, Path(sys.argv[2]), stage='pairs', quiet=True) as ask:\n"
        "    for a in ask([ask.request(f'grade {n}', purpose='grade', max_tokens=64) for n in range(200)]):\n"
        "        print(a.request_id, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code, settings.model_dump_json(), str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    assert process.stdout is not None
    seen = [process.stdout.readline().strip() for _ in range(50)]
    with pytest.raises(RunFolderError, match="in use by process"), asker(settings, tmp_path, stage="pairs"):
        pass  # one session at a time
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = wait_until_quiet(server)
    with asker(settings, tmp_path, stage="pairs", quiet=True) as ask:
        answers = grades(ask, range(200))
        known = ask.counts()["known"]
    assert all(seen) and set(seen) <= {a.request_id for a in answers} and known >= len(seen)
    assert len(server.get("/log")) - before == 201 - known  # the preflight, and what the journal did not hold
    assert sum(count - 1 for count in server.answers().values()) <= 8


def wait_until_quiet(server: Server) -> int:
    """Wait until the dead driver's worker has gone too; how many requests there were."""
    until, count = time.monotonic() + 60, -1
    while time.monotonic() < until and count != (count := len(server.get("/log"))):
        time.sleep(1.0)
    return count


def test_traces_that_exist_can_answer_nothing_else(tmp_path: Path) -> None:
    settings = TeacherSettings.model_validate({"source": "import", "import": {"path": str(tmp_path)}})
    with pytest.raises(ConfigError, match="import holds traces"), asker(settings, tmp_path, stage="pairs"):
        pass


def test_an_asker_is_what_other_rooms_know() -> None:
    filter_tools: type[Ask] = Asker  # checked by mypy too: the rooms see the protocol only
    assert {"request", "__call__"} <= set(dir(filter_tools))
