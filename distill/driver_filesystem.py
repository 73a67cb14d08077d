"""The fsspec file system behind URLs `driver://PATH`; `distill.store.filesystem` and Ray Train open files by it."""

from __future__ import annotations

import uuid
from typing import Any

from fsspec import register_implementation
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from distill.driver_files import SCHEME, Entry, call, serving

PIECE = 8 << 20  # bytes that travel together


def for_pyarrow() -> Any | None:
    """The file system for pyarrow, which Ray Train takes; None where nothing is served, and paths are paths."""
    if not serving():
        return None
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(DriverFiles()))


class DriverFiles(AbstractFileSystem):
    """The file system; within the driver its calls go to the disk directly."""

    protocol = SCHEME
    root_marker = "/"
    blocksize = PIECE

    def info(self, path: str, **_: Any) -> Entry:
        """See `DiskAccess.info`."""
        entry: Entry = call("info", self._strip_protocol(path))
        return entry

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Entry] | list[str]:
        """The entries of a folder, or a file's own."""
        inner = self._strip_protocol(path)
        entries = call("ls", inner) if self.isdir(inner) else [self.info(inner)]
        return entries if detail else [entry["name"] for entry in entries]

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        call("makedirs", self._strip_protocol(path))

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder and those above it."""
        self.makedirs(path)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        call("remove", self._strip_protocol(path))

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, or folders with all they hold."""
        for each in [path] if isinstance(path, str) else path:
            self.rm_file(each)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> DriverFile:
        return DriverFile(self, path, mode, block_size or PIECE, **options)


class DriverFile(AbstractBufferedFile):
    """A file that is open for reading, or for writing from its start (`wb`: nobody sees it half written) or end."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return b"".join(call("read", self.path, at, min(end, at + PIECE)) for at in range(start, end, PIECE))

    def _initiate_upload(self) -> None:
        appends = "a" in self.mode and self.fs.exists(self.path)
        self._part = self.path if "a" in self.mode else f"{self.path}.{uuid.uuid4().hex}.tmp"
        self._start = self.fs.info(self.path)["size"] if appends else 0
        call("makedirs", self.path.rpartition("/")[0])

    def _upload_chunk(self, final: bool = False) -> bool:
        data = self.buffer.getbuffer()
        for at in range(0, max(1, len(data)), PIECE):
            call("write", self._part, self._start + self.offset + at, bytes(data[at : at + PIECE]))
        data.release()
        if final and self._part != self.path:
            call("replace", self._part, self.path)
        return True


register_implementation(SCHEME, DriverFiles, clobber=True)
