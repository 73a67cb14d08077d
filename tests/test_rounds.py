"""`rounds: 2` through the real command: a first student judges, a second one is trained on what it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.records import Rejected, Trace

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs" / "two-rounds.yaml")
SMALL = [
    "pairs.example.queries={train: 30, dev: 4, test: 8}",
    "sft.scratch={vocab_size: 512, layers: 1, width: 64, heads: 2, kv_heads: 2, ffn: 128}",
    "sft.training={max_steps: 8, per_device_train_batch_size: 8, learning_rate: 2.0e-3, logging_steps: 4}",
    "filters.4={self_filter: {}}",  # spares none: a student this small contradicts half of the teacher
    "evaluation.sets.0.depth=5",
    "evaluation.max_new_tokens=16",
]


def distill(command: str, folder: Path, *more: str) -> int:
    return main([command, CONFIG, "--out", str(folder), *SMALL, *more])


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def samples(folder: Path, kind: type) -> set[tuple[str, int]]:
    rows = (getattr(row, "trace", row) for row in store.read_rows(folder, kind))
    return {(row.pair_id, row.sample) for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds") / "run"
    assert distill("run", folder) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.slow
def test_the_first_rounds_student_decides_in_the_second(finished: Path) -> None:
    stages = metrics(finished)["stages"]
    first, last = stages["round-1"], stages["filter"]
    assert "self_filter" not in first["by_filter"]
    dropped = last["by_filter"]["self_filter"]["rejected"]
    assert first["kept"] == last["kept"] + dropped and dropped > 0
    assert stages["trace"]["samples_due"] == last["kept"] + last["rejected"] + last["failed"] + last["not_asked"]
    scores = [json.loads(line) for line in (finished / "round-1" / "scores.jsonl").read_text().splitlines()]
    said = {row["pair_id"]: row["score"] > 0.5 for row in scores}
    kept = list(store.read_rows(finished / "kept", Trace))
    out = [r for r in store.read_rows(finished / "rejected", Rejected) if r.filter == "self_filter"]
    assert out and all(said[r.trace.pair_id] != bool(r.trace.verdict) for r in out)
    assert all(said[t.pair_id] == bool(t.verdict) for t in kept if t.pair_id in said)
    assert samples(finished / "round-1" / "kept", Trace) == samples(finished / "kept", Trace) | {
        (r.trace.pair_id, r.trace.sample) for r in out
    }
    for name in ("round-1/students/think/model.safetensors", "students/think/model.safetensors"):
        assert (finished / name).exists(), name
    assert not (finished / "round-1" / "evaluation").exists() and not (finished / "round-1" / "pairs").exists()
    assert "First round" in (finished / "report.html").read_text()


@pytest.mark.slow
def test_a_second_run_does_nothing_and_a_changed_last_filter_trains_no_first_student(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill("run", run) == 0
    assert capsys.readouterr().err.count("unchanged") == 7
    scores = (run / "round-1" / "scores.jsonl").read_bytes()
    changed = "filters.4={self_filter: {certainty: 0.51}}"
    assert distill("run", run, changed, "--dry-run", "--json") == 0
    due = json.loads(capsys.readouterr().out)["due"]
    assert due["filter"] and not due["round-1"]
    assert distill("filter", run, changed) == 0
    assert "filter: unchanged" not in capsys.readouterr().err
    assert (run / "round-1" / "scores.jsonl").read_bytes() == scores, "no pair is judged twice"
    assert metrics(run)["stages"]["filter"]["filters_run"] == 1


@pytest.mark.slow
def test_judging_goes_on_after_a_kill(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed process leaves: some lines, the last one torn."""
    file = run / "round-1" / "scores.jsonl"
    lines = file.read_text().splitlines()
    before = metrics(run)["stages"]["filter"]
    file.write_text("\n".join(lines[:40]) + "\n" + lines[40][:30])
    (run / "kept" / "manifest.json").unlink()
    shutil.rmtree(run / "verdicts")
    assert distill("filter", run) == 0
    again = [row for line in file.read_text().splitlines() if (row := _parsed(line))]
    assert len(again) == len(lines) and len({row["pair_id"] for row in again}) == len(lines)
    after = metrics(run)["stages"]["filter"]
    assert {k: v for k, v in after.items() if k != "seconds"} == {k: v for k, v in before.items() if k != "seconds"}


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rounds=1"], "rounds: 2 and self_filter go together"),
        (["filters=[parses]"], "rounds: 2 and self_filter go together"),
        (["filters.0={length: {max_length: 300}}"], "filters.length.max_length needs the student's tokenizer"),
    ],
)
def test_what_a_filter_lacks_is_said_before_anything_is_paid_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    assert distill("run", tmp_path / "run", *overrides) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_names_the_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distill("run", tmp_path / "run", "--dry-run") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if " to do " in line] == [
        "pairs", "trace", "round-1", "filter", "dataset", "sft", "evaluate",
    ]  # fmt: skip
