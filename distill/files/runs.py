"""TREC run files, read and written so that every tool orders them as we do."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from ctypes import c_float
from pathlib import Path

from distill.errors import DataError
from distill.files.text import lines

Rankings = Mapping[str, Mapping[str, float]]


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Best first as trec_eval orders: scores compared as 32-bit floats, ties by passage id, descending."""
    return sorted(scores.items(), key=lambda each: (c_float(each[1]).value, each[0]), reverse=True)


def write_run(path: Path, runs: Rankings, tag: str) -> None:
    """Write `query Q0 passage rank score tag`, scores with all their digits."""
    with open(path, "w", encoding="utf-8") as out:
        for query_id in sorted(runs):
            for rank, (doc_id, score) in enumerate(ranked(runs[query_id]), 1):
                out.write(f"{query_id} Q0 {doc_id} {rank} {score!r} {tag}\n")


def read_run(path: Path, queries: Container[str] | None = None) -> dict[str, dict[str, float]]:
    """{query: {passage: score}} of a TREC run, gzipped or not; of `queries` alone where they are given.

    Raises DataError with file and line.
    """
    found: dict[str, dict[str, float]] = {}
    for number, line in lines(path, "name a TREC run, or bm25"):
        values = line.split()
        if len(values) != 6:
            raise DataError(
                f"{path}:{number}: {len(values)} columns; a TREC run has 6: query Q0 passage rank score tag"
            )
        query_id, _, doc_id, _, score, _ = values
        if queries is not None and query_id not in queries:
            continue
        if doc_id in found.setdefault(query_id, {}):
            raise DataError(f"{path}:{number}: passage {doc_id!r} stands twice for query {query_id!r}; keep one")
        try:
            found[query_id][doc_id] = value = float(score)
        except ValueError:
            value = math.nan
        if value != value:  # NaN has no place in an order
            raise DataError(f"{path}:{number}: the score {score!r} is not a number")
    if not found and queries is None:
        raise DataError(f"{path}: is empty; a TREC run has lines of query Q0 passage rank score tag")
    return found
