"""Traces that exist become the same rows, whichever columns hold them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import ConfigError, DataError
from distill.prompts import rank1_prompt, teacher_prompt
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
    columns = {"query": "Q", "passage": "d", "reasoning": "WHY", "content": "says"}  # case does not count
    found = run(tmp_path, rows, import_={"columns": columns}, samples=2)
    assert [(row.reasoning, row.verdict) for row in found[:2]] == [("0", 0), ("1", 1)]
    assert len(found) == 11 and (found[-1].error or "").startswith("not_asked: ")


@pytest.mark.parametrize(
    "text, columns, told",
    [
        ('{"query": "a"}\nnot json', {}, "neither prompt, nor query and passage"),
        ("not json", {}, "given.jsonl:1: not JSON"),
        ("[1]", {}, "given.jsonl:1: a line is an object"),
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


# --- every row is accounted for --------------------------------------------------------------------------------


def counted(tmp_path: Path, rows: list[dict[str, Any]], capsys: Any, **more: Any) -> tuple[dict[str, int], str]:
    """What became of the rows, and what the terminal says."""
    path = tmp_path / "given.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    values = {"source": "import", "import": {"path": str(path)}, **more}
    capsys.readouterr()
    counts = trace(PAIRS, TeacherSettings.model_validate(values), tmp_path / "traces")
    shares = {name.removeprefix("import_"): n for name, n in counts.items() if name.startswith("import_")}
    assert shares.pop("rows") == sum(shares.values()) == len(rows)
    return shares, capsys.readouterr().err


def test_every_row_ends_matched_beyond_the_samples_unmatched_or_refused(tmp_path: Path, capsys: Any) -> None:
    strange = {**by_text(PAIRS[5]), "passage": PAIRS[5].passage.replace("passage", "page", 1) + " and more"}
    empty = {**by_text(PAIRS[4]), "reasoning": None, "content": float("nan")}
    blank = {"query": " ", "passage": None, "content": "true"}
    rows = [*map(by_text, PAIRS[:4]), by_text(PAIRS[0]), by_text(PAIRS[0]), strange, strange, empty, blank]
    shares, said = counted(tmp_path, rows, capsys, samples=2)
    assert shares == {"matched": 5, "more_samples": 1, "unmatched": 2, "refused": 2}
    assert f"given.jsonl:7 matches no pair; the nearest is query {PAIRS[5].query_id!r}" in said
    assert "given.jsonl:9: holds neither reasoning nor an answer" in said
    assert "1 row with further samples, not taken; teacher.samples says how many are" in said


def test_rows_whose_ids_contradict_their_texts_are_counted(tmp_path: Path, capsys: Any) -> None:
    ids = {"query_id": PAIRS[1].query_id, "doc_id": PAIRS[1].doc_id}
    own = {"query_id": PAIRS[0].query_id, "doc_id": PAIRS[0].doc_id}
    rows = [
        {**by_text(PAIRS[0]), **own},
        {**by_text(PAIRS[2]), **ids},
        {**by_prompt(PAIRS[3]), **ids},
        by_text(PAIRS[4]),
    ]
    shares, said = counted(tmp_path, rows, capsys)
    assert shares == {"matched": 4, "more_samples": 0, "unmatched": 0, "refused": 0}
    assert "2 rows matched by text, with other ids than the pair has: " in said
    pair = f"query {PAIRS[2].query_id!r}, passage {PAIRS[2].doc_id!r}"
    assert f"given.jsonl:2 has {ids['query_id']}, {ids['doc_id']} and the texts of {pair}" in said
    assert "name other ids" not in counted(tmp_path, [{**by_text(PAIRS[0]), **own}], capsys)[1]


def test_nothing_that_matches_is_an_error_with_the_nearest_pair(tmp_path: Path, capsys: Any) -> None:
    other = {**by_ids(PAIRS[2]), "corpus-id": PAIRS[2].doc_id + "-x"}
    with pytest.raises(DataError, match=r"none of its 1 row matches a pair; .*:1 matches no pair; the nearest is") as e:
        counted(tmp_path, [other], capsys)
    assert f"passage {PAIRS[2].doc_id!r}" in str(e.value) and "\n" not in str(e.value)
    with pytest.raises(DataError, match="none of its 1 row matches a pair; .* holds neither reasoning nor an answer"):
        counted(tmp_path, [{**by_text(PAIRS[0]), "reasoning": "", "content": ""}], capsys)


def messages(pair: Pair) -> dict[str, Any]:
    asked = {"role": "user", "content": teacher_prompt(pair.query, pair.passage)}
    answer = {"role": "assistant", "content": "false", "reasoning_content": f"for {pair.doc_id}"}
    return {"messages": [{"role": "system", "content": "Be brief."}, asked, answer]}


def conversational(pair: Pair) -> dict[str, Any]:
    """TRL's prompt and completion as messages."""
    first, second = messages(pair)["messages"][1:]
    return {"prompt": [first], "completion": [second]}


def with_blanks(pair: Pair) -> dict[str, Any]:
    return {**by_text(pair), "query": f"  {pair.query}", "passage": f"\n {pair.passage} \n", "instruction": " "}


def prompt_with_blanks(pair: Pair) -> dict[str, Any]:
    row = by_prompt(pair)
    return {**row, "prompt": "\n " + row["prompt"].replace("Passage: ", "Passage:  ")}


def titled(pair: Pair) -> dict[str, Any]:
    title, _, rest = pair.passage.partition(" ")
    return {**by_text(pair), "title": f"{title} ", "passage": rest}


@pytest.mark.parametrize("shape", [messages, conversational, with_blanks, prompt_with_blanks, titled])
def test_other_shapes_match(tmp_path: Path, shape: Any) -> None:
    found = run(tmp_path, [shape(pair) for pair in PAIRS])
    assert [(row.reasoning, row.verdict) for row in found] == [(f"for {pair.doc_id}", 0) for pair in PAIRS]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("yes", 1), ("false", 0), (1, 1), (0, 0), (1.0, 1), (0.0, 0), ("1.0", 1), (True, 1), (False, 0), ("Relevant", 1)],
)
def test_a_verdict_column_counts_where_the_content_is_null(tmp_path: Path, value: Any, verdict: int) -> None:
    rows = [{**by_text(pair), "content": None, "verdict": value} for pair in PAIRS]
    assert {row.verdict for row in run(tmp_path, rows)} == {verdict}


def test_a_graded_verdict_stays_a_grade(tmp_path: Path) -> None:
    rows = [{**by_text(pair), "content": None, "verdict": 1.0} for pair in PAIRS]
    assert {row.content for row in run(tmp_path, rows, prompt="graded_4")} == {"1"}


def test_gzipped_files_arrays_and_instructions(tmp_path: Path) -> None:
    from distill.records import make_pair

    pairs = [make_pair("q", f"d{n}", "a query", f"text {n}", "only this" if n % 2 else None) for n in range(4)]
    rows = [{**by_text(pair), "instruction": pair.instruction} for pair in pairs]
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(rows[:2], indent=1))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows[2:])).encode()))
    (folder / ".DS_Store").write_bytes(b"\0\1")
    values = {"source": "import", "import": {"path": str(folder)}}
    counts = trace(pairs, TeacherSettings.model_validate(values), tmp_path / "traces", quiet=True)
    assert counts["import_matched"] == counts["import_rows"] == 4
    assert all(row.error is None for row in read_rows(tmp_path / "traces", Trace))


def test_a_probability_may_come_with_a_row(tmp_path: Path) -> None:
    rows = [
        by_text(pair) | {"p_relevant": value}
        for pair, value in zip(PAIRS, (0, "0.25", None, 1.0, "", 0.5), strict=True)
    ]
    assert [row.p_relevant for row in run(tmp_path, rows)] == [0.0, 0.25, None, 1.0, None, 0.5]
    named = [by_text(pair) | {"sure": 0.5} for pair in PAIRS]
    assert {row.p_relevant for row in run(tmp_path, named, import_={"columns": {"p_relevant": "sure"}})} == {0.5}
    with pytest.raises(DataError, match=r"given\.jsonl:1: p_relevant is 3; it is a probability from 0 to 1"):
        run(tmp_path, [by_text(PAIRS[0]) | {"p_relevant": 3}])
