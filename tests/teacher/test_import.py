"""Traces that exist become the same rows, whichever columns hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import ConfigError, DataError
from distill.prompts import rank1_prompt
from distill.records import Pair, Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs

PAIRS = make_pairs(6)


def by_text(pair: Pair) -> dict[str, Any]:
    """A row with query and passage."""
    return {"query": pair.query, "passage": pair.passage, "reasoning": f"for {pair.doc_id}", "content": "false"}


def by_prompt(pair: Pair) -> dict[str, Any]:
    """A row as Rank1's students are trained on."""
    prompt = rank1_prompt(pair.query, pair.passage)
    return {"prompt": prompt, "completion": f"\nfor {pair.doc_id}\n</think> false"}


def by_ids(pair: Pair) -> dict[str, Any]:
    """A row as the published DIRAS traces have it."""
    return {"query-id": pair.query_id, "corpus-id": pair.doc_id, "reasoning": f"for {pair.doc_id}", "verdict": "no"}


def run(tmp_path: Path, rows: list[dict[str, Any]], suffix: str = "jsonl", **more: Any) -> list[Trace]:
    """Import rows from a file; what was written."""
    path = tmp_path / f"given.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    values = {"source": "import", "import": {"path": str(path), **more.pop("import_", {})}, **more}
    counts = trace(PAIRS, TeacherSettings.model_validate(values), tmp_path / "traces", quiet=True)
    found = list(read_rows(tmp_path / "traces", Trace))
    assert (counts["pairs"], counts["rows"]) == (6, len(found)) and counts["cost_usd"] == 0
    return found


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("shape", [by_text, by_prompt, by_ids])
def test_each_shape_is_found_by_itself(tmp_path: Path, shape: Any, suffix: str) -> None:
    found = run(tmp_path, [shape(pair) for pair in reversed(PAIRS)], suffix)
    assert [row.pair_id for row in found] == [pair.pair_id for pair in PAIRS]
    assert [row.reasoning for row in found] == [f"for {pair.doc_id}" for pair in PAIRS]
    assert all(row.verdict == 0 and row.error is None and row.completion_tokens > 0 for row in found)


def test_named_columns_a_missing_pair_and_samples(tmp_path: Path) -> None:
    rows = [{"q": p.query, "d": p.passage, "why": f"{n}", "says": n > 0} for p in PAIRS[:5] for n in range(3)]
    columns = {"query": "q", "passage": "d", "reasoning": "why", "content": "says"}
    found = run(tmp_path, rows, import_={"columns": columns}, samples=2)
    assert [(row.reasoning, row.verdict) for row in found[:2]] == [("0", 0), ("1", 1)]
    assert len(found) == 11 and (found[-1].error or "").startswith("not_asked: ")


@pytest.mark.parametrize(
    "text, columns, told",
    [
        ('{"query": "a"}\nnot json', {}, "neither prompt, nor query and passage"),
        ("not json", {}, "line 1: not JSON"),
        ("[1]", {}, "line 1: not an object"),
        ('{"q": "a"}', {"query": "question"}, "no column 'question', which teacher.import.columns.query names"),
    ],
)
def test_bad_files_are_told_by_line(tmp_path: Path, text: str, columns: dict[str, str], told: str) -> None:
    path = tmp_path / "given.jsonl"
    path.write_text(text)
    values = {"source": "import", "import": {"path": str(path), "columns": columns}}
    with pytest.raises(DataError, match=told):
        trace(PAIRS, TeacherSettings.model_validate(values), tmp_path / "traces", quiet=True)


@pytest.mark.parametrize("path, columns", [("nowhere.jsonl", {}), (".", {}), (".", {"question": "q"})])
def test_bad_settings_are_told_by_key(tmp_path: Path, path: str, columns: dict[str, str]) -> None:
    values = {"source": "import", "import": {"path": str(tmp_path / path), "columns": columns}}
    with pytest.raises(ConfigError, match=r"teacher\.import\.(path|columns)"):
        trace(PAIRS, TeacherSettings.model_validate(values), tmp_path / "traces", quiet=True)
