"""The texts of queries and passages on disk, for `distill rerank`: only those that a run names are kept in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from distill.errors import DataError


def read_queries(path: Path) -> dict[str, tuple[str, str | None]]:
    """{query: (text, instruction or None)} of JSON lines (`_id` or `id`, `text`, maybe `instruction`) or of a TSV with
    two or three columns. Raises DataError with file and line."""
    return {
        key: (str(row["text"]), row.get("instruction") or None) for key, row in _rows(path, ("text", "instruction"))
    }


def read_passages(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """{passage: text} of those wanted, the title before the text. Raises DataError with file and line, or naming a
    passage that is not there."""
    found = {}
    for key, row in _rows(path, ("text", "title")):
        if key in wanted:
            found[key] = f"{row['title']} {row['text']}" if row.get("title") else str(row["text"])
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise DataError(
            f"{path}: {len(missing):,} passages of the run have no text here, the first is {missing[0]!r}; "
            "give the corpus that the run was made from"
        )
    return found


def _rows(path: Path, columns: tuple[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as source:
            tabs = path.name.removesuffix(".gz").endswith((".tsv", ".txt"))
            for number, line in enumerate(source, 1):
                if not line.strip():
                    continue
                yield _of_tabs(path, number, line, columns) if tabs else _of_json(path, number, line)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; name JSON lines with _id and text, or a TSV of id and text") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None


def _of_tabs(path: Path, number: int, line: str, columns: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    values = line.rstrip("\r\n").split("\t")
    if len(values) not in (2, 3):
        raise DataError(f"{path}:{number}: {len(values)} columns by tabs; a line is id, text and maybe {columns[1]}")
    return values[0], dict(zip(columns, values[1:], strict=False))


def _of_json(path: Path, number: int, line: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from None
    key = row.get("_id", row.get("id")) if isinstance(row, dict) else None
    if key is None or not isinstance(row.get("text"), str):
        raise DataError(f"{path}:{number}: a line is an object with _id and text")
    return str(key), row
