"""Open files: raised for the connections of a worker, or refused in one line; reports that came are kept at a stop."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from distill.errors import Stopped
from teacher.actors import ActorPool
from teacher.messages import WorkerReport


def limited(soft: int, hard: int, count: int) -> str:
    """What a process with these limits says when it is to hold `count` connections."""
    code = (
        "import resource, sys\nfrom teacher.connection import allow_connections\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"try:\n    allow_connections({count})\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_limit_of_open_files_is_raised_to_what_the_connections_need() -> None:
    assert limited(300, 4000, 1000) == "1256\n"
    assert limited(2000, 4000, 1000) == "2000\n"


def test_too_low_a_hard_limit_is_one_line_with_the_remedy() -> None:
    said = limited(300, 1024, 5000).splitlines()
    assert said[0].startswith("ConfigError teacher.concurrency: 5,000 requests in flight in one worker need 5,256")
    assert "1,024" in said[0] and "teacher.workers" in said[0] and said[1] == "300"


class TaskError(Exception):
    """Of a fake Ray."""


class Gone(Exception):
    """Of a fake Ray: an actor that has died."""


def test_reports_that_came_before_a_stop_are_handed_over_first() -> None:
    report = WorkerReport(lines=[b"{}"], done=["a"])
    outcomes: dict[Any, Any] = {"first": report, "second": Gone("node died")}

    def get(call: str) -> WorkerReport:
        if isinstance(outcomes[call], Exception):
            raise outcomes[call]
        return report

    pool = ActorPool.__new__(ActorPool)
    pool._ray = SimpleNamespace(
        exceptions=SimpleNamespace(RayTaskError=TaskError, RayError=Gone),
        wait=lambda calls, num_returns, timeout: (calls, []),
        get=get,
        nodes=lambda: [],  # the last node is gone: the pool cannot go on
        kill=lambda actor: None,
    )
    pool.actors, pool.held = [None, None], [{"a": ("a", [], {}, "trace")}, {"b": ("b", [], {}, "trace")}]  # type: ignore[list-item]
    pool.ready, pool._deaths, pool._error, pool._looked = {0, 1}, 0, None, 0.0
    pool._calls = {"first": 0, "second": 1}  # type: ignore[dict-item]
    reports, left = pool.collect(0.0)
    assert reports == [(0, report)] and left == []
    with pytest.raises(Stopped, match="last node"):
        pool.collect(0.0)
