"""Passages by id, with their texts on disk: a collection of millions is read once and never held."""

from __future__ import annotations

from collections.abc import Iterable

from distill.disk_map import DiskMap
from distill.errors import DataError


class RepeatedId(DataError):
    """One id with two texts; `id` is the id."""

    id: str = ""


class Passages(DiskMap[str]):
    """{id: text}; half a surrogate pair in a text becomes a question mark."""

    def __init__(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """`rows` are (place, id, text); one id may come again with the same text.

        Raises RepeatedId, naming the row's place, for an id that comes with another text.
        """
        super().__init__()
        for where, key, text in rows:
            if not self.add(key, text) and self[key] != text.encode("utf-8", "replace").decode("utf-8"):
                error = RepeatedId(f"{where}: the id {key!r} is there twice, with another text")
                error.id = key
                raise error

    def pack(self, value: str) -> bytes:
        """The text in UTF-8."""
        return value.encode("utf-8", "replace")

    def unpack(self, data: bytes) -> str:
        """The text of its bytes."""
        return data.decode("utf-8")
