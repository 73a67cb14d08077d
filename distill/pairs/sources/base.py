"""What every source of pairs gives, and the reading of files that several of them share."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from distill.errors import DataError
from distill.files.text import BROKEN_GZIP, lines

Passage = tuple[str, str, str]  # where, id, text
Query = tuple[str, str, str, str | None]  # where, id, text, instruction
Label = tuple[str, str, str, int | None]  # where, query id, passage id, grade; None: listed, not judged
ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
csv.field_size_limit(1 << 30)


class Source(Protocol):
    """One place that pairs come from; each method streams, and may be called again.

    `name` is what an error begins with, `holds` what it calls the places of the queries and the passages; `repeats`:
    one id may come again with the same text; `labelled`: a source without any label is at fault; `divided`: another
    split has other labels (else whatever the split is called, it is all there is).
    """

    name: str
    holds: tuple[str, str]
    repeats: bool
    labelled: bool

    @property
    def divided(self) -> bool: ...

    def files(self) -> list[Path]:
        """The local files that are read, by whose hashes a change is noticed."""

    def passages(self) -> Iterator[Passage]:
        """Every passage."""

    def queries(self) -> Iterator[Query]:
        """Every query, whatever its split."""

    def labels(self, split: str | None) -> Iterator[Label]:
        """What was judged, of one split; None: of the only one."""

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """(query, passage) of hard negatives that the source lists without having judged them, best first."""


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of a JSONL, CSV, TSV or Parquet file, by its ending, the first three gzipped or not."""
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in ENDINGS:
        raise DataError(f"{path}: its ending is none of {', '.join(ENDINGS)} (.gz after the first four)")
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder; name a file in it' if path.is_dir() else 'no such file'}")
    return {".parquet": _parquet, ".csv": _table, ".tsv": _table}.get(ending, _objects)(path)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from None
        except RecursionError:
            raise DataError(f"{path}:{number}: JSON nested too deep") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a line is an object; this is {keys(row)}")
        yield f"{path}:{number}", row


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    tabs = ".tsv" in path.suffixes
    raw = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
    with raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else 0)
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    wanted = len(reader.fieldnames or ())
                    raise DataError(f"{where}: the row has not the header's {wanted} columns; mend or quote it")
                yield where, row
        except UnicodeDecodeError as error:
            message = f"{path}:{reader.line_num + 1}: not UTF-8 ({error.reason}); save the file as UTF-8"
            raise DataError(message) from None
        except BROKEN_GZIP as error:
            raise DataError(f"{path}: not a whole gzip file ({error}); fetch it again") from None
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not readable as a table ({error})") from None


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable Parquet file ({error})") from None


def grade(value: Any, where: str) -> int:
    """A label as an integer. Raises DataError naming the place."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = str(value).strip()
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: the label {text!r} is not an integer") from None


def keys(row: Any) -> str:
    """What a row holds, for an error."""
    return ", ".join(map(str, row)) or "no keys" if isinstance(row, dict) else f"a {type(row).__name__}"
