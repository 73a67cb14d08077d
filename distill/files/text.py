"""The lines of a text file that a user names, plain or gzipped: whatever is wrong with it is one clear error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError

BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)


def lines(path: Path, needed: str = "") -> Iterator[tuple[int, str]]:
    """(number, line) of the lines that hold anything, without their ends; a byte-order mark is passed over.

    Raises DataError, naming the line where there is one, for a file that is missing (`needed` says what it should
    be), a folder, not to be read, not UTF-8, or no whole gzip file.
    """
    remedy = f"; {needed}" if needed else ""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as source:
            for number, raw in enumerate(source, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    message = f"{path}:{number}: not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
                    raise DataError(message) from None
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file{remedy}") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder; name a file in it") from None
    except BROKEN_GZIP as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
