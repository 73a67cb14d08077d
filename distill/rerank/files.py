"""The texts of queries and passages on disk, for `distill rerank`: only those that a run names are kept in memory."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.files.text import lines
from distill.texts import clean_text, passage_text


def read_queries(path: Path) -> dict[str, tuple[str, str | None]]:
    """{query: (text, instruction or None)} of JSON lines (`_id` or `id`, `text`, maybe `instruction`) or of a TSV with
    two or three columns. Raises DataError with file and line."""
    found: dict[str, tuple[str, str | None]] = {}
    for where, key, row in _rows(path, ("text", "instruction")):
        instruction = row.get("instruction") or None
        if instruction is not None and not isinstance(instruction, str):
            raise DataError(f"{where}: the instruction of {key!r} is no text; a line has one instruction, or none")
        _put(found, where, key, (clean_text(row["text"]), clean_text(instruction) or None))
    return found


def read_passages(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """{passage: text} of those wanted, the title before the text. Raises DataError with file and line, or naming a
    passage that is not there."""
    found: dict[str, str] = {}
    for where, key, row in _rows(path, ("text", "title")):
        if key in wanted:
            _put(found, where, key, passage_text(row.get("title"), row["text"]))
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise DataError(
            f"{path}: {len(missing):,} passages of the run have no text here, the first is {missing[0]!r}; "
            "give the corpus that the run was made from"
        )
    return found


def _put(found: dict[str, Any], where: str, key: str, value: Any) -> None:
    """Take a row in; the same one may come again, another one under its id may not."""
    if found.setdefault(key, value) != value:
        raise DataError(f"{where}: {key!r} stands twice with different texts; keep one")


def _rows(path: Path, columns: tuple[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, id, row)."""
    tabs = path.name.removesuffix(".gz").endswith((".tsv", ".txt"))
    for number, line in lines(path, "name JSON lines with _id and text, or a TSV of id and text"):
        where = f"{path}:{number}"
        yield (where, *(_of_tabs(where, line, columns) if tabs else _of_json(where, line)))


def _of_tabs(where: str, line: str, columns: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    values = line.split("\t")
    if len(values) not in (2, 3):
        raise DataError(f"{where}: {len(values)} columns by tabs; a line is id, text and maybe {columns[1]}")
    return values[0], dict(zip(columns, values[1:], strict=False))


def _of_json(where: str, line: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    key = row.get("_id", row.get("id")) if isinstance(row, dict) else None
    if key is None or not isinstance(row.get("text"), str):
        raise DataError(f"{where}: a line is an object with _id and text")
    return str(key), row
