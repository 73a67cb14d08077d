"""Targets are found in their folder or in a file of one's own, and everything that differs between them is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from distill import store
from distill.cli import main
from distill.prompts import completion
from distill.records import Example
from sft.settings import SftSettings
from sft.targets import TARGETS, target_of, writing_target

BRIEF = '''
from sft.targets.base import Target


class Brief(Target):
    """The first sentence of the reasoning, then the verdict."""

    modes = ("think",)

    def completions(self, reasoning, grade, prompt):
        word = " true" if grade else " false"
        return [("brief", f"\\n{reasoning.partition('.')[0]}.\\n</think>{word}")]
'''


def test_the_built_in_ones() -> None:
    assert TARGETS.names() == ("direct", "encoder", "mixed", "retriever", "think", "verdict_first")
    modes = {name: target_of(name).modes for name in TARGETS.names()}
    assert modes == {
        "direct": ("direct",), "encoder": ("direct",), "mixed": ("think", "direct"),
        "retriever": ("direct",), "think": ("think",), "verdict_first": ("direct",),
    }  # fmt: skip
    assert {name: target_of(name).mode for name in TARGETS.names()} == {
        "direct": "direct", "encoder": "direct", "mixed": "direct", "retriever": "direct", "think": "think",
        "verdict_first": "direct",
    }  # fmt: skip
    rows = {name: target_of(name).rows_with_reasoning() for name in TARGETS.names()}
    assert rows == {
        "direct": [False],
        "encoder": [False],
        "mixed": [True, False],
        "retriever": [False],
        "think": [True],
        "verdict_first": [True],
    }
    assert writing_target("think").completions("why", 1, "rank1") == [("think", completion("think", "why", 1))]
    assert [kind for kind, _ in writing_target("mixed").completions("why", 0, "rank1")] == ["think", "direct"]


@pytest.mark.parametrize(
    ("target", "message"),
    [("thimk", "did you mean 'think'"), ("nowhere.py:Brief", "no such file"), ("brief.py:Long", "has no class 'Long'")],
)
def test_a_target_that_is_not_there_is_named(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "brief.py").write_text(BRIEF)
    with pytest.raises(ValueError, match=message):
        SftSettings.model_validate({"targets": [target]}, context={"base": tmp_path})


def test_a_target_of_ones_own_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "brief.py").write_text(BRIEF)
    config = {
        "name": "own", "pairs": {"source": "example", "example": {"queries": {"train": 12, "dev": 2, "test": 2}}},
        "teacher": {"source": "example"}, "filters": ["finished", "parses", "has_reasoning"],
        "sft": {
            "base": "scratch", "targets": ["brief.py:Brief"], "max_length": 320,
            "scratch": {"vocab_size": 512, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 128},
            "training": {"max_steps": 2, "per_device_train_batch_size": 4},
        },
        "evaluation": {"sets": []},
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    command = [str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]
    assert main(["run", *command]) == 0, capsys.readouterr().err
    rows = list(store.read_rows(tmp_path / "run" / "dataset" / "brief", Example))
    assert rows and all(row.target == "brief" and row.completion.count(".") == 1 for row in rows)
    assert (tmp_path / "run" / "students" / "brief" / "model.safetensors").is_file()
    students = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]["sft"]["students"]
    assert students["brief"]["examples"] == len(rows)
    (tmp_path / "brief.py").write_text(BRIEF.replace("[0]}.", "[0]}!"))  # another file, another dataset
    assert main(["dataset", *command]) == 0, capsys.readouterr().err
    again = list(store.read_rows(tmp_path / "run" / "dataset" / "brief", Example))
    assert all("!\n</think>" in row.completion for row in again)
