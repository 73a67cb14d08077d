"""TREC run files, read and written so that every tool orders them as we do; all stages and commands use these."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from ctypes import c_float
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from distill.errors import DataError
from distill.files.text import lines

Rankings = Mapping[str, Mapping[str, float]]
# The mark of a file whose ids are percent-encoded: ends the tag of a run, is the iteration of qrels.
ENCODED = "ids-percent-encoded"
_COUNTED = [str(rank) for rank in range(1, 10_001)]
_LARGEST = 3.4028234663852886e38  # 32-bit float, as which scores are compared


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

    A line is split at its tabs where it has any, else at white space. One line on the terminal says where the ranks
    contradict the scores, by which alone a run is ordered. Raises DataError with file and line.
    """
    run: dict[str, dict[str, float]] = {}
    ranks: dict[str, list[str]] = {}
    empty, current = True, ""
    scores: dict[str, float] = {}  # of the current query, in the file's order as its ranks
    order: list[str] = []
    for number, line in lines(path, needed):
        empty = False
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if len(cells) != 6:
            raise DataError(f"{path}:{number}: {len(cells)} columns; a TREC run has 6: query Q0 passage rank score tag")
        query_id, _, doc_id, rank, score, tag = cells
        if tag.endswith(ENCODED):
            query_id, doc_id = unquote(query_id), unquote(doc_id)
        if queries is not None and query_id not in queries:
            continue
        if not query_id or not doc_id:
            raise DataError(f"{path}:{number}: an empty id; a TREC run has query Q0 passage rank score tag")
        if query_id != current:
            current, scores, order = query_id, run.setdefault(query_id, {}), ranks.setdefault(query_id, [])
        if doc_id in scores:
            raise DataError(f"{path}:{number}: passage {doc_id!r} is there twice for query {query_id!r}; keep one")
        try:
            scores[doc_id] = value = float(score)
        except ValueError:
            value = math.nan
        if not -_LARGEST <= value <= _LARGEST or "_" in score:
            raise DataError(f"{path}:{number}: {_no_score(score, value)}")
        order.append(rank)
    if empty:
        raise DataError(f"{path}: is empty; a TREC run has lines of query Q0 passage rank score tag")
    _warn_of_ranks(path, ranks, run)
    return run


def _no_score(cell: str, value: float) -> str:
    """Why a score has no place in an order."""
    if math.isnan(value) or "_" in cell:
        return f"the score {cell!r} is not a number"
    return f"the score {cell!r} is infinite as a 32-bit float; take the line out, or scale the scores"


def _warn_of_ranks(path: Path, ranks: Mapping[str, list[str]], run: Rankings) -> None:
    """Say on the terminal, once a file, in how many of its lists the ranks contradict the scores."""
    against = {query: row for query, cells in ranks.items() if (row := _contradiction(cells, run[query])) is not None}
    if against:
        query, row = next(iter(against.items()))
        line = _line_of(path, query, list(run[query])[row])
        _say(
            f"{path}: in {len(against):,} of {len(run):,} lists the ranks contradict the scores (first: {query} at "
            f"line {line}); the scores are used, as trec_eval does"
        )


def _line_of(path: Path, query_id: str, doc_id: str) -> int:
    """The number of the line that scores a passage for a query; 0 where the file is no longer what it was."""
    pairs = {(query_id, doc_id), (_encoded(query_id), _encoded(doc_id))}
    for number, line in lines(path):
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if len(cells) == 6 and (cells[0], cells[2]) in pairs:
            return number
    return 0


def _contradiction(cells: list[str], scores: Mapping[str, float]) -> int | None:
    """The place in one list, in the file's order, of the first rank that contradicts its score; None: there is none.

    Each line is compared with the one before it, scores as 32-bit floats. Equal scores leave the order to the passage
    ids, which is said only where all are equal.
    """
    values = list(scores.values())
    if values[0] != values[-1] and cells == _COUNTED[: len(cells)] and values == sorted(values, reverse=True):
        return None  # nearly all
    tied = None
    last: tuple[int, float, str] | None = None
    for row, (cell, (doc_id, value)) in enumerate(zip(cells, scores.items(), strict=True)):
        rank, score = _whole(cell), c_float(value).value
        if rank is None:
            return row
        if last is not None and rank != last[0]:
            better, worse = ((score, doc_id), last[1:]) if rank < last[0] else (last[1:], (score, doc_id))
            if better[0] < worse[0]:
                return row
            if better < worse and tied is None:
                tied = row
        last = rank, score, doc_id
    return tied if len(set(values)) == 1 else None


def _whole(cell: str) -> int | None:
    """A rank written as -1 or 1.0; None for what is no whole number."""
    try:
        return int(float(cell)) if float(cell).is_integer() else None
    except ValueError:
        return None


@cache
def _say(message: str) -> None:
    print(message, file=sys.stderr)


def encoder(ids: Iterable[str]) -> Callable[[str], str]:
    """How the ids of one file are written: as they are (`str`), or percent-encoded where one holds white space."""
    return _encoded if any(len(key.split()) != 1 or key != key.strip() for key in ids) else str


def _encoded(key: str) -> str:
    """White space and % as %XX of their UTF-8 bytes; `urllib.parse.unquote` takes it back."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in mark.encode()) if mark.isspace() or mark == "%" else mark for mark in key
    )
