"""Errors of the disk as one line that names the path. `distill.cli` calls `disk_fault` for whatever ends a command.

A disk that is full, read-only or forbidden shows itself in many ways: as OSError, often without a path; in the text of
the Rust and C++ libraries (safetensors, tokenizers, torch, Arrow); as sqlite3's own words; inside Ray's errors.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from distill.errors import DiskFull, DiskRefused, DistillError

_GOES_ON = "and the same command goes on from here"
_FULL = {
    errno.ENOSPC: f"no space left on the device; free some, {_GOES_ON}",
    errno.EDQUOT: f"the disk quota is used up; free some space, {_GOES_ON}",
    errno.EFBIG: f"the limit on the size of files is reached (ulimit -f); raise it, {_GOES_ON}",
    errno.EIO: f"the device reports an input/output error; see to it, {_GOES_ON}",
    errno.EMFILE: f"too many open files (ulimit -n); raise the limit, {_GOES_ON}",
}
_REFUSED = {
    errno.EROFS: "the file system is read-only; make it writable, or name another place",
    errno.EACCES: "no permission; change the rights, or name another place",
    errno.EPERM: "no permission; change the rights, or name another place",
    errno.ENOTDIR: "a part of this path is a file and not a folder; name another place",
    errno.EISDIR: "is a folder; name a file",
    errno.ELOOP: "a link in this path leads back to itself; name another place",
    errno.ENAMETOOLONG: "the name is too long for the file system; name another place",
}
_IN_TEXT = re.compile(r"\[errno (\d+)\]|\(os error (\d+)\)", re.IGNORECASE)
_BY_WORDS = (  # sqlite3's texts, torch's writer of weights, Ray's warning
    ("database or disk is full", errno.ENOSPC),
    ("readonly database", errno.EROFS),
    ("disk i/o error", errno.EIO),
    ("pytorchstreamwriter failed", errno.ENOSPC),
    ("file write failed", errno.ENOSPC),
    (". unexpected pos ", errno.ENOSPC),
    ("no space left on device", errno.ENOSPC),
)
_PROBE = b"0" * 65536


def disk_fault(error: BaseException, output: Path | None = None) -> DistillError | None:
    """The error of the disk behind `error`, with its path; None where the disk is not to blame.

    `output` is the folder that the command writes to: it is named where the error itself names no path, unless another
    folder in use (temporary files, the cache of models) shows the same error when written to.
    """
    faults = [(number, path) for one in _causes(error) for number, path in _of(one)]
    for number, path in sorted(faults, key=lambda fault: fault[1] is None):  # those that name a path first
        place = path or _place_of(number, output)
        if place is None:
            continue
        link = _dangling(place)
        if link is not None:
            return DiskRefused(f"{link}: is a link to {os.readlink(link)}, which does not exist; name another place")
        if number in _FULL:
            return DiskFull(f"{place}: {_FULL[number]}")
        if number in _REFUSED:
            return DiskRefused(f"{place}: {_REFUSED[number]}")
        if number == errno.EEXIST and place.is_file():
            return DiskRefused(f"{place}: is a file; name a folder")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it came from, those of a group, and what Ray wraps."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, vars(one).get("cause")]
        inner += one.exceptions if isinstance(one, BaseExceptionGroup) else []
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]


def _of(error: BaseException) -> Iterator[tuple[int, Path | None]]:
    """(errno, path) of one error, where it is one of the disk."""
    if isinstance(error, DistillError):
        return
    if isinstance(error, OSError) and error.errno is not None:
        named = [name for name in (error.filename2, error.filename) if isinstance(name, str | bytes | os.PathLike)]
        yield error.errno, Path(os.fsdecode(named[0])) if named else None  # of a copy, where it goes
    elif isinstance(error, RuntimeError | sqlite3.Error | OSError) or type(error) is Exception:
        yield from _in_words(str(error))  # Exception itself is what Rust's libraries raise
    elif type(error).__module__ != "builtins":
        yield from _in_words(str(error))


def _in_words(text: str) -> Iterator[tuple[int, None]]:
    if match := _IN_TEXT.search(text):
        yield int(match[1] or match[2]), None
    yield from ((number, None) for words, number in _BY_WORDS if words in text.lower())


def _place_of(number: int, output: Path | None) -> Path | None:
    """The folder that shows the error when it is written to; `output` where none does and the disk is surely meant."""
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    for folder in filter(None, (output, Path(tempfile.gettempdir()), cache)):
        try:
            with tempfile.TemporaryFile(dir=existing(folder)) as probe:
                probe.write(_PROBE)
                probe.flush()
        except OSError as error:
            if error.errno == number:
                return folder
    return output if number in _FULL else None


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((place for place in (path, *path.absolute().parents) if place.is_dir()), path)


def _dangling(path: Path) -> Path | None:
    """The link on the way to `path` whose target does not exist."""
    return next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)
