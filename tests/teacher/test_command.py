"""The teacher through the real command: failures asked again when told, a second process refused, money estimated."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.teacher.helpers import Server, own_run

Serve = Callable[..., Server]
pytestmark = pytest.mark.usefixtures("ray_here")


def counts(out: Path) -> dict[str, Any]:
    """What metrics.json says of the stage."""
    return dict(json.loads((out / "metrics.json").read_text())["stages"]["trace"])


def test_what_failed_for_good_is_asked_again_only_when_told(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve("bad=0.5")
    config, out = own_run(tmp_path, server), tmp_path / "run"
    given = [str(config), "--out", str(out)]
    assert main(["pairs", *given]) == main(["trace", *given]) == 0
    failed, pairs = counts(out)["failed"], counts(out)["pairs"]
    assert 0 < failed < pairs and counts(out)["failures"] == {"bad_request": failed}
    server.change(faults={})
    assert main(["trace", *given]) == 0 and "trace: unchanged" in capsys.readouterr().err
    assert main(["trace", *given, "teacher.samples=2"]) == 0  # other samples are asked; those failures stay
    failed, first = counts(out)["failed"], failed
    assert failed >= first and counts(out)["asked_now"] == pairs
    assert main(["trace", *given, "teacher.samples=2", "--retry-failed"]) == 0
    assert (counts(out)["failed"], counts(out)["asked_now"], counts(out)["answered"]) == (0, failed, 2 * pairs)


def test_a_second_process_on_the_same_run_is_refused_while_the_first_lives(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(mean=1.0)
    config, out = own_run(tmp_path, server), tmp_path / "run"
    given = [str(config), "--out", str(out)]
    assert main(["pairs", *given]) == 0
    first = subprocess.Popen([sys.executable, "-m", "distill.cli", "trace", *given], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while server.get("/stats")["requests"] < 1 and first.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert main(["trace", *given]) == 2
    assert f"in use by process {first.pid}" in capsys.readouterr().err
    assert main(["trace", *given, "--dry-run"]) == 0  # to look is allowed
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert first.wait(timeout=120) == 0
    assert max(server.answers().values()) == 1 and len(server.answers()) == counts(out)["pairs"]
    assert first.stderr is not None
    first.stderr.close()


def test_a_budget_ends_with_status_3_and_goes_on_when_raised(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    config, out = own_run(tmp_path, server), tmp_path / "run"
    given = [str(config), "--out", str(out), "teacher.concurrency=1"]
    assert main(["pairs", *given]) == 0
    assert main(["trace", *given, "teacher.budget_tokens=500"]) == 3
    assert "teacher.budget_tokens 500 is reached" in capsys.readouterr().err
    assert 500 <= 140 * len(server.get("/log")) <= 500 + 140
    assert main(["trace", *given, "teacher.budget_tokens=50000"]) == 0
    assert counts(out)["answered"] == counts(out)["pairs"] and max(server.answers().values()) == 1
