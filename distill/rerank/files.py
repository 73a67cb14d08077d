"""The texts of queries and passages on disk, for `distill rerank`: only those that a run names are kept in memory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from distill.errors import DataError
from distill.files.texts import passage_rows
from distill.files.topics import queries_of
from distill.files.values import check_forms

T = TypeVar("T")


def read_queries(path: Path) -> dict[str, tuple[str, str | None]]:
    """{query: (text, instruction or None)} of TREC topics, a table or a TSV. Raises DataError with file and line."""
    queries: dict[str, tuple[str, str | None]] = {}
    places: dict[str, str] = {}
    for row in queries_of(path):
        _put(queries, places, row.where, row.id, (row.text, row.instruction))
    check_forms(queries, str(path))
    return queries


def read_passages(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """{passage: text} of those wanted that are there, title and text joined. Raises DataError with file and line."""
    passages: dict[str, str] = {}
    places: dict[str, str] = {}
    for row in passage_rows(path):
        if row.id in wanted:
            _put(passages, places, row.where, row.id, row.text)
    check_forms(passages, str(path))
    return passages


def _put(texts: dict[str, T], places: dict[str, str], where: str, key: str, value: T) -> None:
    """Take a row in; the same one may come again, another one under its id may not."""
    if texts.setdefault(key, value) != value:
        raise DataError(f"{where}: {key!r} is there twice with different texts, first at {places[key]}; keep one")
    places.setdefault(key, where)
