"""Passages by id, with their texts in a temporary file: a collection of millions is read once and never held."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping

from distill.errors import DataError

BLOCK = 1 << 22  # bytes written at once


class Passages(Mapping[str, str]):
    """{id: text}. Held in memory are the ids and 8 bytes a passage; the texts lie in an unnamed temporary file.

    The file is in the system's temporary folder (`TMPDIR`), as large as the texts, and goes with the object.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str]], repeats: bool = False) -> None:
        """`rows` are (where, id, text); `where` is what an error says of the row's place.

        Raises DataError for an id that stands twice, unless the source `repeats` its passages.
        """
        self._places: dict[str, int] = {}
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile(prefix="distill-passages-")
        at, block = 0, bytearray()
        for where, key, text in rows:
            if key in self._places:
                if repeats:
                    continue
                raise DataError(f"{where}: the id {key!r} stands twice; ids must be unique")
            self._places[key] = len(self._places)
            raw = text.encode("utf-8", "replace")
            at += len(raw)
            self._ends.append(at)
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
