"""Several runs that differ in their seed: the spread, and intervals that know of it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.errors import ConfigError, DataError
from distill.evaluation.seeds import across


def run(folder: Path, luck: float, system: str = "think", queries: int = 60) -> Path:
    """A run folder whose student is better than the first stage by `luck`, the same for each query."""
    draw = random.Random(0)
    first = {f"q{n}": draw.random() / 2 for n in range(queries)}
    student = {q: value + luck for q, value in first.items()}
    (folder / "evaluation").mkdir(parents=True)
    per_query = {"first_stage": {"nDCG@10": first}, system: {"nDCG@10": student}}
    store.write_json(folder / "evaluation" / "test.json", {"per_query": per_query})
    return folder


def test_the_spread_over_runs_is_told(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(at), luck) for at, luck in enumerate((0.1, 0.2, 0.3))]
    found = across(runs, 0)["test"]
    think, first = found.spread["think"]["nDCG@10"], found.spread["first_stage"]["nDCG@10"]
    assert think.sd == pytest.approx(0.1) and first.sd == 0 and len(think.by_run) == 3
    assert found.measures["think"]["nDCG@10"] == pytest.approx(found.measures["first_stage"]["nDCG@10"] + 0.2)
    low, high = found.differences["think"]["nDCG@10"]
    assert low == pytest.approx(0.1, abs=0.01) and high == pytest.approx(0.3, abs=0.01)


def test_luck_of_one_seed_is_not_called_certain(tmp_path: Path) -> None:
    """One run alone says that the student is far ahead; three say that it is not sure."""
    runs = [run(tmp_path / str(at), luck) for at, luck in enumerate((0.3, -0.1, -0.15))]
    test = across(runs, 0)["test"].tests["think"]["nDCG@10"]
    assert test.p_holm > 0.05 and test.difference == pytest.approx(0.05 / 3, abs=1e-5)


def test_the_command_and_wrong_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(run(tmp_path / str(at), 0.1 * at)) for at in range(3)]
    assert main(["evaluate", "--seeds", *runs, "--latex", str(tmp_path / "t.tex")]) == 0
    said = capsys.readouterr()
    assert "test\nsystem" in said.out and "Means over 3 runs" in said.err and (tmp_path / "t.tex").exists()
    assert main(["evaluate", "--seeds", *runs[:2]]) == 0 and "says little" in capsys.readouterr().err
    with pytest.raises(DataError, match="holds no evaluated set"):
        across([Path(runs[0]), tmp_path / "nothing"], 0)
    with pytest.raises(ConfigError, match="at least two"):
        across([Path(runs[0])], 0)
    with pytest.raises(ConfigError, match="'direct' is none of the systems first_stage, think"):
        across([Path(each) for each in runs], 0, "direct")


def test_what_not_all_runs_have_is_counted(tmp_path: Path) -> None:
    folders = []
    for number in range(2):
        values = {
            "first": {"nDCG@10": {"q0": 0.1, "q1": 0.2, f"only{number}": 0.3}},
            f"own{number}": {"nDCG@10": {"q0": 1}},
        }
        folder = tmp_path / f"run{number}"
        (folder / "evaluation").mkdir(parents=True)
        (folder / "evaluation" / "test.json").write_text(json.dumps({"per_query": values}))
        folders.append(folder)
    left_out = across(folders, 0)["test"].left_out
    assert left_out == {
        "systems that not all the runs have, left out": 2, "queries that not all the runs have, left out": 2,
    }  # fmt: skip
