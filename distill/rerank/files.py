"""Texts of queries and passages for `distill rerank` and its like: only those that a run names, passages on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from operator import attrgetter
from pathlib import Path

from distill.errors import DataError
from distill.files.documents import passages_of
from distill.files.texts import worded
from distill.files.topics import queries_of
from distill.files.values import check_forms

BLOCK = 50_000  # pairs that are in memory together, as many as the rows of a shard


class TextsOnDisk(Mapping[str, str]):
    """{id: text} whose texts lie in a temporary file; a million of them take the memory of their ids."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="distill-texts-")
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def put(self, key: str, text: str) -> None:
        """Keep a text under a key that has none yet."""
        raw = text.encode("utf-8", "surrogatepass")
        self._file.write(raw)
        self._places[key] = (self._end, len(raw))
        self._end += len(raw)

    def __getitem__(self, key: str) -> str:
        offset, length = self._places[key]
        self._file.flush()
        return os.pread(self._file.fileno(), length, offset).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_queries(path: Path) -> dict[str, tuple[str, str | None]]:
    """{query: (text, instruction or None)} of TREC topics, a table or a TSV. Raises DataError with file and line."""
    queries: dict[str, tuple[str, str | None]] = {}
    for row in worded(queries_of(path), attrgetter("where"), attrgetter("text")):
        if queries.setdefault(row.id, (row.text, row.instruction)) != (row.text, row.instruction):
            first = next(each.where for each in queries_of(path) if each.id == row.id)
            raise _twice(row.where, row.id, first)
    check_forms(queries, str(path))
    return queries


def read_passages(path: Path, wanted: Collection[str]) -> Mapping[str, str]:
    """{passage: text} of those wanted that are there, title and text joined. Raises DataError with file and line."""
    passages = TextsOnDisk()
    for row in worded(passages_of(path), attrgetter("where"), attrgetter("text")):
        if row.id not in wanted:
            continue
        if row.id not in passages:
            passages.put(row.id, row.text)
        elif passages[row.id] != row.text:
            raise _twice(row.where, row.id, next(each.where for each in passages_of(path) if each.id == row.id))
    check_forms(passages, str(path))
    return passages


def _twice(where: str, key: str, first: str) -> DataError:
    """The same row may come again, another one under its id may not."""
    return DataError(f"{where}: {key!r} is there twice with different texts, first at {first}; keep one")
