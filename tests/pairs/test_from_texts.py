"""From a folder of plain text files alone to a report, through the real command and a teacher behind real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.example.texts import write_texts
from distill.example.world import WorldSettings
from distill.records import Example, Pair

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "from-texts.yaml")
SMALL = [
    "pairs.synthesize.passages=60", "pairs.ask=[train, test]", "sft.training.max_steps=6", "sft.scratch.width=64",
    "sft.scratch.heads=2", "sft.scratch.kv_heads=2", "sft.scratch.layers=1", "evaluation.max_new_tokens=16",
    "evaluation.sets.0.depth=4",
]  # fmt: skip


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.slow
def test_plain_texts_become_a_student_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_texts(tmp_path / "texts", 0, WorldSettings(queries={"train": 60}))
    run = tmp_path / "run"
    command = ["run", CONFIG, "--out", str(run), f"pairs.path={tmp_path / 'texts'}", *SMALL]
    # A budget ends the first attempt in the middle; the second goes on from there.
    assert main([*command, "teacher.budget_tokens=200000"]) == 3
    assert not (run / "pairs" / "manifest.json").exists()
    assert main(command) == 0
    pairs = list(store.read_rows(run / "pairs", Pair))
    sources = {pair.source.split(":")[0] for pair in pairs}
    assert sources == {
        "synthesized", "bm25", "random", "instruction_positive", "instruction_mined", "instruction_negative",
        "instruction_easy", "poisoned_instruction", "poisoned_query",
    }  # fmt: skip
    assert {pair.split for pair in pairs} == {"train", "test"}
    found = metrics(run)
    stage = found["stages"]["pairs"]
    steps = sum(stage[name]["asked"] for name in ("synthesize", "judge", "instructions", "poison"))
    assert stage["pairs"] == len(pairs) and stage["asked_now"] + stage["known"] == steps
    assert stage["known"] > 60 and stage["tokens"] > 200000
    # Both parts were asked about, one was trained on.
    assert found["stages"]["trace"]["samples_due"] == len(pairs)
    split = {pair.pair_id: pair.split for pair in pairs}
    examples = list(store.read_rows(run / "dataset" / "think", Example))
    assert examples and {split[row.pair_id] for row in examples} == {"train"}
    # The exam is the test part of these very pairs, with the teacher's grades.
    assert {"first_stage", "think"} <= set(found["evaluation"]["test"])
    exam = json.loads((run / "evaluation" / "test.json").read_text())
    held_out = {pair.query_id for pair in pairs if pair.split == "test" and pair.instruction is None}
    assert set(exam["queries"]) == held_out and "poisoned" in (run / "report.html").read_text()
    manifest = json.loads((run / "pairs" / "manifest.json").read_text())
    assert set(manifest["settings"]["asked"]["prompts"]) >= {"grade", "queries", "instruction"}

    capsys.readouterr()
    assert main(command) == 0 and capsys.readouterr().err.count("unchanged") == 6
    # One more sample of each judgement: what was answered is not asked again, and what it wrote is still there.
    assert main(["pairs", *command[1:], "pairs.judge.samples=4"]) == 0
    again = metrics(run)["stages"]["pairs"]
    assert again["known"] > 2 * again["asked_now"] > 0
    kept = {pair.pair_id for pair in store.read_rows(run / "pairs", Pair)}
    assert len(kept & set(split)) / len(split) > 0.8


def test_a_folder_without_texts_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("x")
    for name, said in (("photos", "holds no file that ends in .txt"), ("nowhere", "no such folder")):
        assert main(["pairs", CONFIG, "--out", str(tmp_path / f"run-{name}"), f"pairs.path={tmp_path / name}"]) == 2
        assert said in capsys.readouterr().err


def test_a_dry_run_says_that_queries_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_texts(tmp_path / "texts", 0, WorldSettings(queries={"train": 2}))
    assert main(["run", CONFIG, "--dry-run", f"pairs.path={tmp_path / 'texts'}"]) == 0
    assert "no estimate before the teacher has written the queries" in capsys.readouterr().out
