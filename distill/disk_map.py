"""A dictionary on disk: what is needed by key and is too much to hold. Called where pairs are read and made."""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Generic, TypeVar, cast

Value = TypeVar("Value")
CACHE_KB = 8_000  # of a dictionary's pages in memory; one that is smaller never touches the disk
PAGE = 1_000  # items read together


class DiskMap(MutableMapping[str, Value], Generic[Value]):
    """{text: value} in the order of insertion, as a dict has it; a few MB are in memory, whatever its size.

    A value is a text, a number, a tuple, a list or a dictionary of such, and what is read is a copy: a changed one is
    to be set again. Iteration may go on while items are set or removed. The data lie in an unnamed file in SQLite's
    temporary folder (`SQLITE_TMPDIR`, else `TMPDIR`), which goes with the object.
    """

    def __init__(self, items: Iterable[tuple[str, Value]] = ()) -> None:
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode=OFF")
        self._base.execute(f"PRAGMA cache_size=-{CACHE_KB}")
        self._base.execute("CREATE TABLE item(place INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")
        self._base.execute("BEGIN")
        self._size = 0
        for key, value in items:
            self[key] = value

    def pack(self, value: Value) -> bytes:
        """The value as bytes; with `unpack` what a subclass for other values replaces."""
        return marshal.dumps(value)  # type: ignore[arg-type]  # raises ValueError for other values

    def unpack(self, data: bytes) -> Value:
        """The value of `pack`'s bytes."""
        return cast(Value, marshal.loads(data))

    def add(self, key: str, value: Value) -> bool:
        """Set the key's value unless it has one; whether it had none."""
        row = (_raw(key), self.pack(value))
        new = self._base.execute("INSERT OR IGNORE INTO item(key, value) VALUES (?, ?)", row).rowcount > 0
        self._size += new
        return new

    def __setitem__(self, key: str, value: Value) -> None:
        if not self.add(key, value):
            self._base.execute("UPDATE item SET value=? WHERE key=?", (self.pack(value), _raw(key)))

    def __getitem__(self, key: str) -> Value:
        row = self._base.execute("SELECT value FROM item WHERE key=?", (_raw(key),)).fetchone() if self._size else None
        if row is None:
            raise KeyError(key)
        return self.unpack(row[0])

    def __contains__(self, key: object) -> bool:
        if not self._size or not isinstance(key, str):
            return False
        return self._base.execute("SELECT 1 FROM item WHERE key=?", (_raw(key),)).fetchone() is not None

    def __delitem__(self, key: str) -> None:
        if not self._base.execute("DELETE FROM item WHERE key=?", (_raw(key),)).rowcount:
            raise KeyError(key)
        self._size -= 1

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        return (_text(key) for _, key in self._pages("SELECT place, key", "place"))

    def items(self) -> ItemsView[str, Value]:
        """(key, value) in the order of insertion."""
        return _Items(self)

    def values(self) -> ValuesView[Value]:
        """The values in the order of their keys' insertion."""
        return _Values(self)

    def in_order(self) -> Iterator[tuple[str, Value]]:
        """(key, value) in the order of insertion, read a page at a time."""
        rows = self._pages("SELECT place, key, value", "place")
        return ((_text(key), self.unpack(value)) for _, key, value in rows)

    def sorted_items(self) -> Iterator[tuple[str, Value]]:
        """(key, value) in the order of keys."""
        rows = self._pages("SELECT key, value", "key")
        return ((_text(key), self.unpack(value)) for key, value in rows)

    def sorted_keys(self) -> Iterator[str]:
        """The keys in their order."""
        return (_text(key) for (key,) in self._pages("SELECT key", "key"))

    def _pages(self, select: str, by: str) -> Iterator[tuple]:
        """The rows of a SELECT whose first column is what it is ordered by."""
        rows = self._base.execute(f"{select} FROM item ORDER BY {by} LIMIT {PAGE}").fetchall()
        query = f"{select} FROM item WHERE {by}>? ORDER BY {by} LIMIT {PAGE}"
        while rows:
            yield from rows
            rows = self._base.execute(query, (rows[-1][0],)).fetchall()


class _Items(ItemsView[str, Value]):
    _mapping: DiskMap[Value]

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return self._mapping.in_order()


class _Values(ValuesView[Value]):
    _mapping: DiskMap[Value]

    def __iter__(self) -> Iterator[Value]:
        return (value for _, value in self._mapping.in_order())


def _raw(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def sorted_keys(texts: Mapping[str, object]) -> Iterable[str]:
    """The keys of a dictionary in their order, those of one on disk without being held."""
    return texts.sorted_keys() if isinstance(texts, DiskMap) else sorted(texts)


def sorted_items(texts: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    """(key, value) in the order of keys, those of a dictionary on disk without being held."""
    return texts.sorted_items() if isinstance(texts, DiskMap) else ((key, texts[key]) for key in sorted(texts))
