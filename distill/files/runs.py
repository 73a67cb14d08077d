"""TREC run files, read and written so that every tool orders them as we do; all stages and commands use these."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from ctypes import c_float
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from distill.disk_map import sorted_keys
from distill.errors import DataError
from distill.files.text import lines
from distill.tables import counted

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
    write_lists(path, lambda: ((query, runs[query]) for query in sorted_keys(runs)), tag)


def write_lists(path: Path, lists: Callable[[], Iterable[tuple[str, Mapping[str, float]]]], tag: str) -> None:
    """As `write_run`, of (query, {passage: score}) in the order given, one list in memory; `lists` gives them anew."""
    tag = "_".join(tag.split())
    for encode, ending in ((str, ""), (_encoded, f":{ENCODED}")):
        with open(path, "w", encoding="utf-8") as out:
            for query_id, scores in lists():
                if encode is str and encoder((query_id, *scores)) is not str:
                    break  # from the beginning, encoded
                for rank, (doc_id, score) in enumerate(ranked(scores), 1):
                    out.write(f"{encode(query_id)} Q0 {encode(doc_id)} {rank} {score!r} {tag}{ending}\n")
            else:
                return


def read_run(
    path: Path, queries: Container[str] | None = None, needed: str = "name a TREC run, or bm25"
) -> dict[str, dict[str, float]]:
    """{query: {passage: score}} of a TREC run, of those `queries` only where they are given. Raises as `run_rows`.

    One line on the terminal says where the ranks contradict the scores, by which alone a run is ordered.
    """
    run: dict[str, dict[str, float]] = {}
    ranks: dict[str, list[str]] = {}
    current = ""
    scores: dict[str, float] = {}  # of the current query, in the file's order as its ranks
    order: list[str] = []
    for number, query_id, doc_id, rank, score in run_rows(path, queries, needed):
        if query_id != current:
            current, scores, order = query_id, run.setdefault(query_id, {}), ranks.setdefault(query_id, [])
        if doc_id in scores:
            raise twice(path, number, query_id, doc_id)
        scores[doc_id] = score
        order.append(rank)
    contradictions = Contradictions(path)
    for query_id, order in ranks.items():
        contradictions.look(query_id, order, run[query_id])
    contradictions.say()
    return run


def run_rows(
    path: Path, queries: Container[str] | None = None, needed: str = "name a TREC run, or bm25"
) -> Iterator[tuple[int, str, str, str, float]]:
    """(line's number, query, passage, rank as it is written, score) of the lines of a TREC run, gzipped or not.

    A line is split at its tabs where it has any, else at white space. Raises DataError with file and line.
    """
    empty = True
    for number, line in lines(path, needed):
        empty = False
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if len(cells) != 6:
            raise DataError(
                f"{path}:{number}: {counted(len(cells), 'column')}; a TREC run has 6: query Q0 passage rank score tag"
            )
        query_id, _, doc_id, rank, score, tag = cells
        if tag.endswith(ENCODED):
            query_id, doc_id = unquote(query_id), unquote(doc_id)
        if queries is not None and query_id not in queries:
            continue
        if not query_id or not doc_id:
            raise DataError(f"{path}:{number}: an empty id; a TREC run has query Q0 passage rank score tag")
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not -_LARGEST <= value <= _LARGEST or "_" in score:
            raise DataError(f"{path}:{number}: {_no_score(score, value)}")
        yield number, query_id, doc_id, rank, value
    if empty:
        raise DataError(f"{path}: is empty; a TREC run has lines of query Q0 passage rank score tag")


def twice(path: Path, number: int, query_id: str, doc_id: str) -> DataError:
    """The error for a passage that is in a list already."""
    return DataError(f"{path}:{number}: passage {doc_id!r} is there twice for query {query_id!r}; keep one")


def _no_score(cell: str, value: float) -> str:
    """Why a score has no place in an order."""
    if math.isnan(value) or "_" in cell:
        return f"the score {cell!r} is not a number"
    return f"the score {cell!r} is infinite as a 32-bit float; take the line out, or scale the scores"


class Contradictions:
    """Counts the lists of a file in which the ranks contradict the scores."""

    def __init__(self, path: Path) -> None:
        self._path, self._lists, self._against = path, 0, 0
        self._first: tuple[str, str] | None = None

    def look(self, query_id: str, ranks: list[str], scores: Mapping[str, float]) -> None:
        """Take in a list, in the file's order."""
        self._lists += 1
        row = _contradiction(ranks, scores)
        if row is not None:
            self._against += 1
            self._first = self._first or (query_id, list(scores)[row])

    def say(self) -> None:
        """Say on the terminal, once a file, in how many lists it is so."""
        if self._first:
            first = f"{self._first[0]} at line {_line_of(self._path, *self._first)}"
            _say(
                f"{self._path}: in {self._against:,} of {self._lists:,} lists the ranks contradict the scores "
                f"(first: {first}); the scores are used, as trec_eval does"
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
