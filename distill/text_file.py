"""Texts by number in a temporary file, read once and needed by place. For `sft.examples` and `distill.pairs`."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator

BLOCK = 1 << 22  # bytes written together


class TextFile:
    """Texts in the order in which they are appended; in memory are 8 bytes a text.

    They lie in an unnamed file in the system's temporary folder (`TMPDIR`), which goes with the object. What was
    appended since the last `flush` cannot be read.
    """

    def __init__(self) -> None:
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile(prefix="distill-texts-")
        self._block = bytearray()

    def append(self, text: str) -> None:
        """Add a text; half a surrogate pair in it becomes a question mark."""
        raw = text.encode("utf-8", "replace")
        self._ends.append(self._ends[-1] + len(raw))
        self._block += raw
        if len(self._block) >= BLOCK:
            self._file.write(self._block)
            self._block.clear()

    def flush(self) -> None:
        """Make what was appended readable."""
        self._file.write(self._block)
        self._block.clear()
        self._file.flush()

    def __getitem__(self, place: int) -> str:
        start, end = self._ends[place], self._ends[place + 1]
        return os.pread(self._file.fileno(), end - start, start).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __len__(self) -> int:
        return len(self._ends) - 1
