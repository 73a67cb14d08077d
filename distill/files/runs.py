"""TREC run files, read and written so that every tool orders them as we do; all stages and commands use these."""

from __future__ import annotations

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
    empty, ranks = True, _Ranks()
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
        if doc_id in run.setdefault(query_id, {}):
            raise DataError(f"{path}:{number}: passage {doc_id!r} is there twice for query {query_id!r}; keep one")
        run[query_id][doc_id] = value = _score(score, f"{path}:{number}")
        ranks.add(query_id, doc_id, rank, value, number)
    if empty:
        raise DataError(f"{path}: is empty; a TREC run has lines of query Q0 passage rank score tag")
    ranks.warn(path, len(run))
    return run


def _score(cell: str, where: str) -> float:
    """A score; NaN, infinity and what a 32-bit float cannot hold have no place in an order, and are a DataError."""
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if value != value or "_" in cell:
        raise DataError(f"{where}: the score {cell!r} is not a number")
    if abs(value) > _LARGEST:
        raise DataError(
            f"{where}: the score {cell!r} is infinite as a 32-bit float; take the line out, or scale the scores"
        )
    return value


class _Ranks:
    """Whether the ranks of a run contradict its scores, by comparing each line with the one before it of its query."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float, str]] = {}
        self._against: dict[str, int] = {}  # query -> line
        self._tied: dict[str, int] = {}  # the same, where equal scores leave the order to the passage ids
        self._varied: set[str] = set()

    def add(self, query_id: str, doc_id: str, cell: str, score: float, number: int) -> None:
        """Take one line in."""
        rank = int(cell) if cell.isascii() and cell.isdecimal() else _whole(cell)
        if rank is None:
            self._against.setdefault(query_id, number)
            return
        last = self._last.get(query_id)
        self._last[query_id] = rank, score, doc_id
        if last is None:
            return
        later = rank - last[0]
        if score != last[1]:
            self._varied.add(query_id)
            against = (later > 0 and score > last[1]) or (later < 0 and score < last[1])
            if against and c_float(score).value != c_float(last[1]).value:
                self._against.setdefault(query_id, number)
        elif (later > 0 and doc_id > last[2]) or (later < 0 and doc_id < last[2]):
            self._tied.setdefault(query_id, number)

    def warn(self, path: Path, lists: int) -> None:
        """Say on the terminal, once a file, in how many of so many lists ranks contradict scores."""
        against = self._against | {query: line for query, line in self._tied.items() if query not in self._varied}
        if against:
            query, line = min(against.items(), key=lambda item: item[1])
            _say(
                f"{path}: in {len(against):,} of {lists:,} lists the ranks contradict the scores (first: {query} at "
                f"line {line}); the scores are used, as trec_eval does"
            )


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
