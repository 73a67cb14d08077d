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
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_HEAD = 4096  # bytes that show what a file is
# What a file begins with that is no text, what it is, and the remedy.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, or a workbook of Excel or LibreOffice", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a workbook of old Excel", "save the sheet as CSV"),
    (b"PAR1", "a Parquet file", "let its name end in .parquet, where a table is read"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it, or use gzip"),
    (b"BZh", "compressed by bzip2", "unpack it, or use gzip"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it, or use gzip"),
    (b"%PDF", "a PDF", "save its text"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"\xff\xfe\0\0", "UTF-32", "save the file as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32", "save the file as UTF-8"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file", "run git lfs pull"),
)


def ending(path: Path) -> str:
    """The last suffix, in small letters, without `.gz`: `.jsonl` of `a.JSONL.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def foreign(head: bytes) -> str | None:
    """What a file of that beginning is, and the remedy, where it is none of text; None where it may be."""
    for beginning, what, remedy in _FOREIGN:
        if head.startswith(beginning):
            return f"is {what}; {remedy}"
    page = head.removeprefix(_BOM).lstrip().lower()
    if page.startswith((b"<!doctype html", b"<html")) and any(tag in page for tag in (b"<head", b"<body", b"<title")):
        return "is a page of HTML, maybe an error's or a login's in place of the file; fetch the file itself"
    return None


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
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                message = f"{path}:{number}: not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
                raise DataError(message) from None
            if number == 1 and "\r" in line.rstrip("\r\n") and line[-1] != "\n":
                raise DataError(f"{path}: its lines end in \\r alone, as on old Macs; save it with \\n")
            if line[:1] == "\ufeff":  # also where files with such marks were joined
                line = line.lstrip("\ufeff")
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
        with _unpacked(path) as source:
            head = source.peek(_HEAD)[:_HEAD]
            if kind := foreign(head):
                raise DataError(f"{path}: {kind}")
            if b"\0" in head[:2] and len(head) > 1:
                raise DataError(f"{path}: binary, or UTF-16 without its mark; save the file as UTF-8")
            yield source, "utf-16" if head[:2] in _UTF16 else "utf-8"
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


def _unpacked(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The file's bytes; of one that begins as gzip files do, those that it holds, whatever its name ends in."""
    source = open(path, "rb")
    head = source.peek(_HEAD)[:_HEAD]
    if head.startswith(_GZIP):
        source.close()
        return gzip.open(path, "rb")
    if head and path.suffix.lower() == ".gz" and not foreign(head):
        source.close()
        raise DataError(
            f"{path}: not a whole gzip file (it is not compressed); take .gz off its name, or fetch it again"
        )
    return source


def _named(error: UnicodeError) -> str:
    return "UTF-16" if isinstance(error, UnicodeDecodeError) and "16" in error.encoding else "UTF-8"


def _reason(error: UnicodeError) -> str:
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)
