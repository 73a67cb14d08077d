"""TREC run files, read and written so that every tool orders them as we do; all stages and commands use these."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from ctypes import c_float
from pathlib import Path
from urllib.parse import unquote

from distill.errors import DataError
from distill.files.text import lines

Rankings = Mapping[str, Mapping[str, float]]
# The mark of a file whose ids are percent-encoded: ends the tag of a run, is the iteration of qrels.
ENCODED = "ids-percent-encoded"


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Best first as trec_eval orders: scores compared as 32-bit floats, ties by passage id, descending."""
    return sorted(scores.items(), key=lambda row: (c_float(row[1]).value, row[0]), reverse=True)


def write_run(path: Path, runs: Rankings, tag: str) -> None:
    """Write `query Q0 passage rank score tag`, scores with all their digits.

    Where an id of the run holds white space, which TREC's format cannot, all its ids are percent-encoded and the tag
    ends in `ENCODED`: trec_eval reads the file, and `read_run` gives the ids as they were.
    """
    encode = encoder(key for query_id, scores in runs.items() for key in (query_id, *scores))
    tag = "_".join(tag.split()) if encode is str else f"{'_'.join(tag.split())}:{ENCODED}"
    with open(path, "w", encoding="utf-8") as out:
        for query_id in sorted(runs):
            for rank, (doc_id, score) in enumerate(ranked(runs[query_id]), 1):
                out.write(f"{encode(query_id)} Q0 {encode(doc_id)} {rank} {score!r} {tag}\n")


def read_run(
    path: Path, queries: Container[str] | None = None, needed: str = "name a TREC run, or bm25"
) -> dict[str, dict[str, float]]:
    """{query: {passage: score}} of a TREC run, gzipped or not, of those `queries` only where they are given.

    A line is split at its tabs where it has any, else at white space. Raises DataError with file and line.
    """
    run: dict[str, dict[str, float]] = {}
    empty = True
    for number, line in lines(path, needed):
        empty = False
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if len(cells) != 6:
            raise DataError(f"{path}:{number}: {len(cells)} columns; a TREC run has 6: query Q0 passage rank score tag")
        query_id, _, doc_id, _, score, tag = cells
        if tag.endswith(ENCODED):
            query_id, doc_id = unquote(query_id), unquote(doc_id)
        if queries is not None and query_id not in queries:
            continue
        if not query_id or not doc_id:
            raise DataError(f"{path}:{number}: an empty id; a TREC run has query Q0 passage rank score tag")
        if doc_id in run.setdefault(query_id, {}):
            raise DataError(f"{path}:{number}: passage {doc_id!r} is there twice for query {query_id!r}; keep one")
        try:
            run[query_id][doc_id] = value = float(score)
        except ValueError:
            value = math.nan
        if value != value:  # NaN has no place in an order
            raise DataError(f"{path}:{number}: the score {score!r} is not a number")
    if empty:
        raise DataError(f"{path}: is empty; a TREC run has lines of query Q0 passage rank score tag")
    return run


def encoder(ids: Iterable[str]) -> Callable[[str], str]:
    """How the ids of one file are written: as they are (`str`), or percent-encoded where one holds white space."""
    return _encoded if any(len(key.split()) != 1 or key != key.strip() for key in ids) else str


def _encoded(key: str) -> str:
    """White space and % as %XX of their UTF-8 bytes; `urllib.parse.unquote` takes it back."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in mark.encode()) if mark.isspace() or mark == "%" else mark for mark in key
    )
