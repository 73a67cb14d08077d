"""Passages by id, with their texts in a temporary file: a collection of millions is read once and never held."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping

from distill.errors import DataError

BLOCK = 1 << 22  # bytes written together


class RepeatedId(DataError):
    """One id with two texts; `id` is the id."""

    id: str = ""


class Passages(Mapping[str, str]):
    """{id: text}. Held in memory are the ids and 8 bytes a passage (16 while they are read).

    The texts lie in an unnamed file in the system's temporary folder (`TMPDIR`), which goes with the object.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """`rows` are (place, id, text); one id may come again with the same text.

        Raises RepeatedId, naming the row's place, for an id that comes with another text.
        """
        self._places: dict[str, int] = {}
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile(prefix="distill-passages-")
        hashes = array("q")
        end, block = 0, bytearray()
        for where, key, text in rows:
            place = self._places.setdefault(key, len(self._places))
            if place < len(hashes):
                if hashes[place] != hash(text):
                    error = RepeatedId(f"{where}: the id {key!r} is there twice, with another text")
                    error.id = key
                    raise error
                continue
            hashes.append(hash(text))
            raw = text.encode("utf-8", "replace")
            end += len(raw)
            self._ends.append(end)
            block += raw
            if len(block) >= BLOCK:
                self._file.write(block)
                block.clear()
        self._file.write(block)
        self._file.flush()

    def __getitem__(self, key: str) -> str:
        place = self._places[key]
        start, end = self._ends[place], self._ends[place + 1]
        return os.pread(self._file.fileno(), end - start, start).decode("utf-8")

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
