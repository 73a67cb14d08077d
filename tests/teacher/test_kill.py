"""Killed and started again: what the journal holds is not asked again (chaos.py strikes 25 times)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.teacher.helpers import SERVER


@pytest.fixture(scope="module")
def chaos() -> ModuleType:
    """benchmarks/teacher/chaos.py as a module."""
    spec = importlib.util.spec_from_file_location("chaos", SERVER.parent / "chaos.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "victim", ["driver", *(pytest.param(name, marks=pytest.mark.slow) for name in ("worker", "raylet", "gcs_server"))]
)
def test_after_a_blow_nothing_is_lost_and_no_more_than_what_was_in_flight_is_asked_again(
    chaos: ModuleType, tmp_path: Path, victim: str
) -> None:
    count = 400 if victim == "driver" else 1500
    result = chaos.blow(victim, count, 0.4, tmp_path)
    assert result["struck"] and result["status"] == 0
    assert (result["rows"], result["distinct"], result["unanswered"]) == (2 * count, 2 * count, 0)
    assert result["lost"] == 0 and result["twice"] <= chaos.CAP
    assert result["left"] == 0  # no process of Ray outlives the driver


@pytest.mark.slow
def test_no_worker_is_ended_because_other_programs_use_up_the_memory(chaos: ModuleType, tmp_path: Path) -> None:
    """Which Ray does by itself, from a share of the machine's memory on that is always used here."""
    with chaos.server("--mean", "0.05") as url:
        command = [sys.executable, str(SERVER.parent / "chaos.py"), "--drive", url, str(tmp_path), "600"]
        done = subprocess.run(
            command, env={**os.environ, "RAY_memory_usage_threshold": "0.001"}, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "counts.json").read_text())["faults"] == {}


@pytest.mark.slow
def test_starting_ray_leaves_the_drivers_signals_alone() -> None:
    code = (
        "import signal, sys; sys.path.insert(0, sys.argv[1])\nfrom distill.ray_cluster import connect\n"
        "before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]\nassert connect(1)\n"
        "assert before == [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]\nimport ray; ray.shutdown()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(SERVER.parents[2])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
