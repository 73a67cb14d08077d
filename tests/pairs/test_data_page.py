"""docs/data.md holds what the product does: every row of its table has examples, and each goes through the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.pairs.sources._columns import USUAL
from distill.records import Pair
from tests.pairs.data_examples import EXAMPLES, Example, Files

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def write(folder: Path, example: Example) -> Path:
    for name, content in example.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = folder / "config.json"
    pairs = {"negatives": {"miner": "random", "per_query": 1, "last": 1}, **example.pairs}
    config.write_text(json.dumps({"name": "x", "pairs": pairs, "teacher": {"source": "example"}}))
    return config


CASES = [(name, index) for name, examples in EXAMPLES.items() for index in range(len(examples))]


@pytest.mark.parametrize(("name", "index"), CASES, ids=[f"{name} {index}" for name, index in CASES])
def test_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, index: int) -> None:
    example = EXAMPLES[name][index]
    config, out = write(tmp_path, example), tmp_path / "out"
    status = main(["pairs", str(config), "--out", str(out)])
    said = capsys.readouterr().err
    if isinstance(example.outcome, str):
        lines = [line for line in said.splitlines() if line.startswith("distill: ")]
        assert status == 2 and len(lines) == 1 and example.outcome in lines[0], said
        assert "Traceback" not in said and len(lines[0]) < 600
        return
    assert status == 0, said
    pairs = [pair for pair in store.read_rows(out / "pairs", Pair) if pair.label_origin != "assumed"]
    assert {(pair.query, pair.passage): pair.label for pair in pairs} == example.outcome
    notes = {pair.query: pair.instruction for pair in pairs if pair.instruction}
    assert notes == example.instructions


def test_every_row_of_the_table_has_examples_of_both_kinds() -> None:
    rows = re.findall(r"^\| (`.+?`.*?) \| .+ \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert [row.replace("`", "") for row in rows] == list(EXAMPLES)
    for name, examples in EXAMPLES.items():
        refused = sum(isinstance(example.outcome, str) for example in examples)
        assert 0 < refused < len(examples), name


@pytest.mark.parametrize("source", ["table", "huggingface"])
def test_the_command_names_files_of_one_table_and_a_column_of_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    rows = "query,passage,label,fold\napple,Apples ripen.,1,{}\n"
    files: Files = {"t/b.csv": rows.format(2), "t/a.csv": rows.format(1)}
    config = write(tmp_path, Example(files, {"source": source, "path": "t"}, {}))
    assert main(["pairs", str(config), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "source: 2 files, read as one table: a.csv, b.csv" in said
    assert "column of splits, maybe, that is not read: fold (such as '1'); columns.split names it" in said


def test_the_page_lists_every_name_of_a_column() -> None:
    listed = dict(re.findall(r"^\| (\w+(?:, \w+)?) \| (`.+`.*) \|$", PAGE.read_text(encoding="utf-8"), re.M))
    names = {what: set(re.findall(r"`(\w+)`", cell)) for whats, cell in listed.items() for what in whats.split(", ")}
    assert names.keys() == USUAL.keys()
    assert all(set(known) <= names[what] for what, known in USUAL.items())
