"""Stages hold no more for more pairs, and each goes on after a kill. The same as benchmarks/scale, at sizes for CI."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scale.data import config, write_data
from benchmarks.scale.run import STAGES, command, make_base, measure
from distill import store
from distill.stages import BY_NAME

SMALL, LARGE, KILLED = 6_000, 24_000, 8_000
LIMIT_GB = 8.0  # of each process's address space
GROWTH = 1.25  # of the peak, the fixed cost of Python and its libraries taken in
# A shard holds 50,000 rows, which the smaller run would not fill: with small ones, what grows is what is held. The
# process kills itself when it has written so many files of rows, or, with -1, before it writes the report.
STAGE = """
import os, signal, sys
from distill import cli, store
from distill.report import page
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def write(path, table):
    global left
    write_table(path, table)
    left -= 1
    if left == 0:
        die()
store.SHARD_ROWS, write_table, left = 1_000, store.write_table, int(sys.argv.pop(1))
store.write_table = write
if left < 0:
    page.write = die
sys.exit(cli.main(sys.argv[1:]))
"""
FILES = {"pairs": 3, "trace": 3, "filter": 3, "dataset": 3, "report": -1}  # after which a stage is killed


def of_stage(stage: str, configuration: Path, run: Path, files: int = 0) -> list[str]:
    """The command of a stage; what trains and scores is a process of its own, which no other command starts."""
    words = command(stage, configuration, run)
    return words if stage in ("sft", "evaluate") else [sys.executable, "-c", STAGE, str(files), *words[3:]]


def prepared(folder: Path, pairs: int, base: str = "scratch") -> Path:
    """The data, and the configuration."""
    write_data(folder / "data", pairs)
    (folder / "config.yaml").write_text(config(folder / "data", base))
    return folder / "config.yaml"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_peak_memory_does_not_grow_with_the_pairs(tmp_path: Path) -> None:
    peaks, base = [], make_base(tmp_path)  # a tokenizer that is trained holds the words of all texts
    for pairs in (SMALL, LARGE):
        configuration, run = prepared(tmp_path / str(pairs), pairs, base), tmp_path / str(pairs) / "run"
        log = tmp_path / f"{pairs}.txt"
        peaks.append({stage: measure(of_stage(stage, configuration, run), log, LIMIT_GB)[1] for stage in STAGES})
    small, large = peaks
    assert {stage: peak for stage, peak in large.items() if peak > GROWTH * small[stage]} == {}, peaks


def made(run: Path) -> dict[str, object]:
    """What the stages made: the hashes of their rows, the students' weights, the measures."""
    manifests = {name: store.read_manifest(run / name) or {} for name in ("pairs", "traces", "kept", "dataset")}
    weights = {path.parent.name: store.file_hash(path) for path in sorted(run.glob("students/*/model.safetensors"))}
    measures = json.loads((run / "metrics.json").read_text())["evaluation"]
    for system in measures["test"].values():
        system.pop("pairs_per_s", None)
    return {**{name: each["result"]["data_hash"] for name, each in manifests.items()}, **weights, "measures": measures}


def kill(words: list[str], log: Path, begun: Callable[[], bool]) -> int:
    """The status of a command that is killed with all its processes as soon as it has begun its work."""
    with open(log, "a") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
        while process.poll() is None:
            if begun():
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
    return process.returncode


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_stage_goes_on_after_a_kill(tmp_path: Path) -> None:
    configuration = prepared(tmp_path, KILLED)
    run = tmp_path / "killed"
    work = {  # what is there as soon as a stage whose work is done by processes of its own has begun it
        "sft": lambda: any(run.glob("students/think/encoded/*.tmp")) or any(run.glob("students/think/encoded/*.arrow")),
        "evaluate": lambda: (run / "evaluation" / "journal.jsonl").exists(),
    }
    for stage in STAGES:
        measure(of_stage(stage, configuration, tmp_path / "whole"), tmp_path / "whole.txt", LIMIT_GB)
        words = of_stage(stage, configuration, run, FILES.get(stage, 0))
        assert kill(words, tmp_path / "killed.txt", work.get(stage, lambda: False)) == -signal.SIGKILL, stage
        assert stage == "report" or store.read_manifest(run / BY_NAME[stage].folder) is None
        measure(of_stage(stage, configuration, run), tmp_path / "killed.txt", LIMIT_GB)
    assert made(run) == made(tmp_path / "whole")
    assert (run / "report.html").exists()
