"""Queries, passages and lists for `distill rerank` and its like: only what a run names, passages and lists on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from operator import attrgetter
from pathlib import Path

from distill.errors import DataError
from distill.files.documents import passages_of
from distill.files.runs import ranked
from distill.files.sorted_runs import database, read_scores
from distill.files.texts import worded
from distill.files.topics import queries_of
from distill.files.values import check_forms

BLOCK = 50_000  # pairs that are in memory together, as many as the rows of a shard


class TextsOnDisk(Mapping[str, str]):
    """{id: text} in a temporary database: a million of them take no more memory than a thousand."""

    def __init__(self) -> None:
        self._rows = database("CREATE TABLE texts (id BLOB PRIMARY KEY, text BLOB)")

    def put(self, key: str, text: str) -> None:
        """Keep a text under a key that has none yet."""
        self._rows.execute("INSERT INTO texts VALUES (?, ?)", (_raw(key), _raw(text)))

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """The text, or the default where there is none."""
        row = self._rows.execute("SELECT text FROM texts WHERE id = ?", (_raw(key),)).fetchone()
        return _text(row[0]) if row else default

    def __getitem__(self, key: str) -> str:
        text = self.get(key)
        if text is None:
            raise KeyError(key)
        return text

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __iter__(self) -> Iterator[str]:
        return (_text(key) for (key,) in self._rows.execute("SELECT id FROM texts ORDER BY rowid"))

    def __len__(self) -> int:
        return int(self._rows.execute("SELECT count(*) FROM texts").fetchone()[0])


class ListsOnDisk:
    """(query, its passages) in a temporary database, in the order in which they were put."""

    def __init__(self) -> None:
        self._lists = database("CREATE TABLE lists (query TEXT, docs TEXT)")
        self.pairs = 0

    def put(self, query: str, docs: list[str]) -> None:
        """Keep a list."""
        self._lists.execute("INSERT INTO lists VALUES (?, ?)", (json.dumps(query), json.dumps(docs)))
        self.pairs += len(docs)

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        rows = self._lists.execute("SELECT query, docs FROM lists ORDER BY rowid")
        return ((json.loads(query), json.loads(docs)) for query, docs in rows)


class IdsOnDisk(Container[str]):
    """The ids of the passages of lists, in a temporary database."""

    def __init__(self, lists: ListsOnDisk) -> None:
        self._ids = database("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        for _, docs in lists:
            self._ids.executemany("INSERT OR IGNORE INTO ids VALUES (?)", ((_raw(doc),) for doc in docs))

    def __contains__(self, doc: object) -> bool:
        return self._ids.execute("SELECT 1 FROM ids WHERE id = ?", (_raw(str(doc)),)).fetchone() is not None


def read_lists(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(query, its passages, best first) of a TREC run, by query. Raises DataError as `distill.files.runs.read_run`."""
    return ((query, [doc for doc, _ in ranked(scores)]) for query, scores in read_scores(path))


def scores_on_disk(path: Path) -> Callable[[str], dict[str, float]]:
    """A function from a query to its passages' scores in a TREC run, {} for one that is not in it."""
    lists = TextsOnDisk()
    for query, scores in read_scores(path):
        lists.put(query, json.dumps(scores))

    def scores_of(query: str) -> dict[str, float]:
        found: dict[str, float] = json.loads(lists.get(query) or "{}")
        return found

    return scores_of


def read_queries(path: Path) -> dict[str, tuple[str, str | None]]:
    """{query: (text, instruction or None)} of TREC topics, a table or a TSV. Raises DataError with file and line."""
    queries: dict[str, tuple[str, str | None]] = {}
    for row in worded(queries_of(path), attrgetter("where"), attrgetter("text")):
        if queries.setdefault(row.id, (row.text, row.instruction)) != (row.text, row.instruction):
            first = next(each.where for each in queries_of(path) if each.id == row.id)
            raise _twice(row.where, row.id, first)
    check_forms(queries, str(path))
    return queries


def read_passages(path: Path, wanted: Container[str]) -> Mapping[str, str]:
    """{passage: text} of those wanted that are there, title and text joined. Raises DataError with file and line."""
    passages = TextsOnDisk()
    for row in worded(passages_of(path), attrgetter("where"), attrgetter("text")):
        if row.id not in wanted:
            continue
        text = passages.get(row.id)
        if text is None:
            passages.put(row.id, row.text)
        elif text != row.text:
            raise _twice(row.where, row.id, next(each.where for each in passages_of(path) if each.id == row.id))
    check_forms(passages, str(path))
    return passages


def _twice(where: str, key: str, first: str) -> DataError:
    """The same row may come again, another one under its id may not."""
    return DataError(f"{where}: {key!r} is there twice with different texts, first at {first}; keep one")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
