"""The lines of a text file that a user names, plain or gzipped, UTF-8 or UTF-16: what every reader here begins with."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from distill.errors import DataError

_BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # the byte-order marks, which Excel's "Unicode text" begins with


def ending(path: Path) -> str:
    """The last suffix, in small letters, without `.gz`: `.jsonl` of `a.JSONL.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def lines(path: Path, needed: str = "") -> Iterator[tuple[int, str]]:
    r"""(number, line) of the lines that hold anything, without their ends (\n or \r\n) and without a byte-order mark.

    Raises DataError, naming the line where there is one, for a file that is missing (`needed` says what it should
    be), a folder, unreadable, neither UTF-8 nor UTF-16 with its mark, or no whole gzip file.
    """
    with _opened(path, needed) as (source, encoding):
        if encoding != "utf-8":
            for number, line in enumerate(_text(source, encoding, "\n"), 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
            return
        for number, raw in enumerate(source, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                message = f"{path}:{number}: not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
                raise DataError(message) from None
            if line.strip():
                yield number, line.rstrip("\r\n")


@contextmanager
def stream(path: Path, needed: str = "") -> Iterator[TextIO]:
    """The file as text with its line ends as they are, for the csv module. Raises DataError as `lines` does."""
    with _opened(path, needed) as (source, encoding):
        yield _text(source, encoding, "")


def _text(source: io.BufferedReader | gzip.GzipFile, encoding: str, newline: str) -> TextIO:
    return io.TextIOWrapper(source, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline=newline)


@contextmanager
def _opened(path: Path, needed: str) -> Iterator[tuple[io.BufferedReader | gzip.GzipFile, str]]:
    """(bytes, encoding); whatever reading them raises within the block is a DataError."""
    remedy = f"; {needed}" if needed else ""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as source:
            head = source.peek(2)[:2]
            if len(head) == 2 and b"\0" in head:
                raise DataError(f"{path}: binary, or UTF-16 without its mark; save the file as UTF-8")
            yield source, "utf-16" if head in _UTF16 else "utf-8"
    except FileNotFoundError:
        raise DataError(f"{path}: no such file{remedy}") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name a file in it") from None
    except UnicodeError as error:
        raise DataError(f"{path}: not {_named(error)} ({_reason(error)}); save the file as UTF-8") from None
    except _BROKEN_GZIP as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _named(error: UnicodeError) -> str:
    return "UTF-16" if isinstance(error, UnicodeDecodeError) and "16" in error.encoding else "UTF-8"


def _reason(error: UnicodeError) -> str:
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)
