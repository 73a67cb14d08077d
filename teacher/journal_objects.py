"""A journal's parts on a URL: fetched when a session starts, written flush by flush, joined to one object each.

Used by `teacher.journal` alone. Each part is a local file (in `.journal/` of the run's folder) and grows there; what is
new in it goes, flush by flush, into an object of its own, `PART.OFFSET.jsonl`. When the part is done it is written
whole, as `PART.jsonl`, then the objects of its flushes are removed. A kill between the two leaves both, and a reader
takes from the flushes only what the whole lacks. Parts bear a mark of their session, so no two sessions share a name.
"""

from __future__ import annotations

import os
import re
import uuid
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from distill.store import filesystem
from distill.urls import listing, reaching

PART_BYTES = 64 << 20
PART_FLUSHES = 1_000  # of one part: what a start fetches besides one object for each part
_AT_ONCE = 500  # flushes' bytes held in memory
_NAME = re.compile(r"(\d{8}(?:-[0-9a-f]{8})?)(?:\.(\d{12}))?\.jsonl")


class JournalObjects:
    """The objects of the journal at `url`; its parts are files in `home`, a local folder."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self._home = url, home
        with reaching(url):
            self._fs, self._folder = filesystem(url)
        self._mark = uuid.uuid4().hex[:8]
        self._flushes: dict[str, list[str]] = defaultdict(list)  # by part, the objects of its flushes

    def name(self, number: int) -> str:
        """The file name of a new part."""
        return f"{number:08d}-{self._mark}.jsonl"

    def is_full(self, part: str, size: int) -> bool:
        """Whether the next line belongs into another part."""
        return size > PART_BYTES or len(self._flushes[part]) >= PART_FLUSHES

    def fetch(self, join: bool) -> None:
        """Bring every part into the local folder, many at a time; `join`: and end what a killed session has left."""
        with reaching(self.url):
            there = listing(self._fs, self._folder)
            whole: dict[str, int] = {}
            flushes: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
            for name, size in sorted(there.items()):
                if match := _NAME.fullmatch(name):
                    part = f"{match[1]}.jsonl"
                    if match[2] is None:
                        whole[part] = size
                    else:
                        flushes[part].append((int(match[2]), size, name))
            stale = [name for name, size in whole.items() if self._size(name) < size or self._is_unmarked(name, size)]
            if stale:
                self._fs.get([f"{self._folder}/{name}" for name in stale], [str(self._home / name) for name in stale])
            for part, objects in flushes.items():
                self._append(part, objects)
                self._flushes[part] = [name for *_, name in objects]
            for path in sorted(self._home.glob("*.jsonl")) if join else ():
                if path.stat().st_size > whole.get(path.name, -1):
                    self.join(path.name)
                elif path.name in self._flushes:
                    self._remove_flushes(path.name)

    def flush(self, part: str, start: int, end: int) -> None:
        """Write what a part has gained as an object of its own."""
        name = f"{part.removesuffix('.jsonl')}.{start:012d}.jsonl"
        with open(self._home / part, "rb") as source, reaching(self.url):
            data = os.pread(source.fileno(), end - start, start)
            self._fs.pipe_file(f"{self._folder}/{name}", data)
        self._flushes[part].append(name)

    def join(self, part: str) -> None:
        """Write a part whole, then remove the objects of its flushes."""
        with reaching(self.url):
            self._fs.put_file(str(self._home / part), f"{self._folder}/{part}")
            self._remove_flushes(part)

    def _remove_flushes(self, part: str) -> None:
        flushes = [f"{self._folder}/{name}" for name in self._flushes.pop(part, [])]
        if flushes:
            with suppress(PermissionError):  # a bucket from which nothing may be removed: a reader takes both
                self._fs.rm(flushes)

    def _is_unmarked(self, part: str, size: int) -> bool:
        """Whether a part of an older version, which two sessions may have named alike, differs from its object."""
        return "-" not in part and self._size(part) != size

    def _size(self, part: str) -> int:
        path = self._home / part
        return path.stat().st_size if path.exists() else -1

    def _append(self, part: str, objects: list[tuple[int, int, str]]) -> None:
        """Add to the local part what it lacks of its flushes."""
        size = max(self._size(part), 0)
        missing = [(start, name) for start, length, name in objects if start + length > size]
        with open(self._home / part, "ab") as out:
            for first in range(0, len(missing), _AT_ONCE):
                paths = {f"{self._folder}/{name}": start for start, name in missing[first : first + _AT_ONCE]}
                texts = self._fs.cat(list(paths))
                for path, start in paths.items():
                    out.write(texts[path][max(0, size - start) :])
                    size = max(size, start + len(texts[path]))
