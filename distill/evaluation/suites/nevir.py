"""NevIR's layout: pairs of queries and passages that differ by a negation (arXiv 2305.07614)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.evaluation.contrast import pairwise_accuracy
from distill.evaluation.suites.base import Suite, json_lines
from distill.files.runs import Rankings
from distill.texts import clean_text

NEEDS = ("id", "q1", "q2", "doc1", "doc2")


def files(folder: Path, split: str) -> list[Path]:
    """SPLIT.jsonl or SPLIT.csv."""
    return [path for path in (folder / f"{split}.jsonl", folder / f"{split}.csv") if path.exists()][:1]


def read(folder: Path, split: str) -> Suite:
    """`folder`/SPLIT.jsonl (or .csv) with id, q1, q2, doc1, doc2: q1 asks for doc1, q2 for doc2. Raises DataError.

    A query is ID_q1, its passage ID_doc1; each query's list is the pair's two passages. Nothing but pairwise accuracy
    is measured: with two passages nDCG says no more. Passages that several pairs share have an id for each.
    """
    passages: dict[str, str] = {}
    queries: dict[str, str] = {}
    own: dict[str, str] = {}
    groups: dict[str, str] = {}
    for where, row in _rows(folder, split):
        pair = str(row["id"])
        if f"{pair}_q1" in queries:
            raise DataError(f"{where}: the id {pair!r} stands twice; ids must be unique")
        for n in ("1", "2"):
            for key in (f"q{n}", f"doc{n}"):
                if not isinstance(row[key], str) or not row[key].strip():
                    raise DataError(f"{where}: {key} is empty or no text")
            queries[f"{pair}_q{n}"], passages[f"{pair}_doc{n}"] = clean_text(row[f"q{n}"]), clean_text(row[f"doc{n}"])
            own[f"{pair}_q{n}"], groups[f"{pair}_q{n}"] = f"{pair}_doc{n}", pair
    if not queries:
        raise DataError(f"{folder / split}.jsonl: is empty; a line is an object with {', '.join(NEEDS)}")
    return Suite(
        "nevir",
        passages,
        queries,
        {query: {passage: 1} for query, passage in own.items()},
        candidates={query: [f"{groups[query]}_doc{n}" for n in ("1", "2")] for query in queries},
        extra=partial(measures, own, groups),
        measured=False,
        stop_words=False,  # no and not are stop words to BM25, and here they are what is asked
    )


def measures(own: dict[str, str], groups: dict[str, str], run: Rankings) -> dict[str, dict[str, float]]:
    return {"pairwise_accuracy": pairwise_accuracy(own, groups, run)}


def _rows(folder: Path, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    path = folder / f"{split}.csv"
    if (folder / f"{split}.jsonl").exists() or not path.exists():
        yield from json_lines(folder / f"{split}.jsonl", NEEDS)
        return
    with open(path, encoding="utf-8-sig", newline="") as source:
        rows = csv.DictReader(source)
        missing = [key for key in NEEDS if key not in (rows.fieldnames or [])]
        if missing:
            raise DataError(f"{path}:1: no column {missing[0]!r}; it needs {', '.join(NEEDS)}")
        for row in rows:
            yield f"{path}:{rows.line_num}", row
