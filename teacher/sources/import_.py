"""`source: import`: traces that exist, matched with the pairs that they are about. Nothing is asked or paid.

A row is matched by its prompt, or by query, instruction and passage, or by query and document id; the rows of one pair
are its samples, in the file's order. Values are kept as they are: what does not parse is for the filters to reject.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distill.answers import JsonObject, JsonValue
from distill.answers.finish import finish_of
from distill.answers.message import read_message
from distill.errors import ConfigError, DataError
from distill.prompts import THINK, teacher_prompt
from distill.records import Answer, Pair, digest, make_request
from distill.store import filesystem
from teacher.client import guess_prompt, guess_tokens
from teacher.settings import Import as ImportSettings
from teacher.settings import TeacherSettings
from teacher.sources.base import TeacherSource

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

KNOWN: dict[str, tuple[str, ...]] = {
    "query": ("query",),
    "passage": ("passage", "document", "text"),
    "instruction": (),
    "query_id": ("query_id", "query-id", "qid"),
    "doc_id": ("doc_id", "corpus-id", "docid", "pid"),
    "prompt": ("prompt",),
    "completion": ("completion", "output", "response"),
    "reasoning": ("reasoning", "reasoning_content", "thinking"),
    "content": ("content", "answer", "verdict"),
    "finish_reason": ("finish_reason",),
    "model": ("model",),
}
_WORDS = {"yes": "true", "no": "false", "1": "true", "0": "false", "relevant": "true", "not relevant": "false"}


class Import(TeacherSource):
    """The traces of `teacher.import.path`."""

    asks: ClassVar[bool] = False

    @property
    def _named(self) -> ImportSettings:
        if self.settings.import_ is None:
            raise ValueError("source import needs the key import")
        return self.settings.import_

    def check(self) -> None:
        """Raise ValueError without `teacher.import`."""
        _ = self._named

    def identity(self) -> JsonObject:
        """The file's name, and the names, sizes and times of local files, by which a changed one is noticed."""
        return {"import": {**self._named.model_dump(), "files": _stamps(self._named.path)}}

    def imported(self, pairs: Iterable[Pair], scratch: Path) -> Iterator[tuple[Pair, int, Answer | None]]:
        """(pair, sample, answer) for every pair and sample that is there; None for a pair without a trace.

        `scratch` is a file to work with. Raises ConfigError (no such file, a column that is not there), DataError (a
        line that cannot be read).
        """
        path, columns = self._named.path, self._named.columns
        unknown = set(columns) - set(KNOWN)
        if unknown:
            raise ConfigError(f"teacher.import.columns: {sorted(unknown)[0]!r} is none of {', '.join(KNOWN)}")
        scratch.unlink(missing_ok=True)
        base = sqlite3.connect(scratch)
        try:
            base.execute("CREATE TABLE trace(key TEXT, answer TEXT)")
            base.executemany("INSERT INTO trace VALUES (?, ?)", _keyed(path, columns))
            base.execute("CREATE INDEX by_key ON trace(key)")
            for pair in pairs:
                yield from _of_pair(pair, self.settings, base)
        finally:
            base.close()
            scratch.unlink(missing_ok=True)


def _stamps(path: str) -> list[JsonValue]:
    root = Path(path)
    files = sorted(root.iterdir()) if root.is_dir() else [root] if root.exists() else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _of_pair(
    pair: Pair, settings: TeacherSettings, base: sqlite3.Connection
) -> Iterator[tuple[Pair, int, Answer | None]]:
    content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt)
    plain = teacher_prompt(pair.query, pair.passage, pair.instruction)  # what a row of texts is keyed by (`_key`)
    keys = (digest(content), digest(plain), digest("ids", pair.query_id, pair.doc_id))
    rows = base.execute("SELECT answer FROM trace WHERE key IN (?, ?, ?) ORDER BY rowid", keys).fetchall()
    if not rows:
        yield pair, 0, None
    messages = [{"role": "user", "content": content}]
    for sample, (text,) in enumerate(rows[: settings.sampled.first]):
        reasoning, answer, finish, model = json.loads(text)
        request = make_request(settings.teacher_name, messages, settings.sampling(sample), sample)
        reason, unknown = finish_of(finish)
        yield (
            pair,
            sample,
            Answer(
                request.request_id,
                reasoning,
                answer,
                reason,
                guess_prompt(messages),
                guess_tokens(reasoning + answer),
                model=model,
                estimated=True,
                unknown_finish=unknown,
            ),
        )


def _keyed(path: str, columns: dict[str, str]) -> Iterator[tuple[str, str]]:
    for where, raw in _rows(path):
        row = {name: _value(raw, name, columns, where) for name in KNOWN}
        reasoning, content = _read(row)
        content = _WORDS.get(content.lower(), content)
        yield _key(row, where), json.dumps([reasoning, content, row["finish_reason"], row["model"]])


def _read(row: JsonObject) -> tuple[str, str]:
    """(reasoning, answer) of a row: of its completion, text or messages, else of its own two columns."""
    completion = row["completion"]
    if isinstance(completion, list) and completion and isinstance(completion[-1], dict) and "role" in completion[-1]:
        return read_message(completion[-1])
    if completion is not None:
        return read_message({"content": completion})
    content = row["content"]
    return read_message({"reasoning": row["reasoning"], "content": _text(content) if _plain(content) else content})


def _key(row: JsonObject, where: str) -> str:
    text = {name: _text(value) for name, value in row.items() if _plain(value)}
    if "prompt" in text:
        return digest(text["prompt"].rstrip().removesuffix(THINK).rstrip())
    if "query" in text and "passage" in text:
        return digest(teacher_prompt(text["query"], text["passage"], text.get("instruction")))
    if "query_id" in text and "doc_id" in text:
        return digest("ids", text["query_id"], text["doc_id"])
    raise DataError(
        f"{where}: neither prompt, nor query and passage, nor query_id and doc_id; name them in teacher.import.columns"
    )


def _value(raw: JsonObject, name: str, columns: dict[str, str], where: str) -> JsonValue:
    if name in columns:
        if columns[name] not in raw:
            raise DataError(f"{where}: no column {columns[name]!r}, which teacher.import.columns.{name} names")
        return raw[columns[name]]
    return next((raw[column] for column in KNOWN[name] if column in raw), None)


def _plain(value: JsonValue) -> bool:
    return value is not None and not isinstance(value, list | dict)


def _text(value: JsonValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rows(path: str) -> Iterator[tuple[str, JsonObject]]:
    fs, inner = filesystem(path)
    if not fs.exists(inner):
        raise ConfigError(f"teacher.import.path: {path}: no such file")
    files = sorted(fs.ls(inner, detail=False)) if fs.isdir(inner) else [inner]
    files = [file for file in files if file.endswith((".parquet", ".jsonl"))]
    if not files:
        raise ConfigError(f"teacher.import.path: {path}: holds no .parquet or .jsonl file")
    for file in files:
        yield from (_parquet if file.endswith(".parquet") else _jsonl)(fs, file)


def _parquet(fs: AbstractFileSystem, file: str) -> Iterator[tuple[str, JsonObject]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fs.open(file, "rb") as source:
        try:
            number = 0
            for batch in pq.ParquetFile(source).iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}, row {number}", row
        except pa.ArrowException as error:
            raise DataError(f"{file}: not a readable Parquet file ({error})") from None


def _jsonl(fs: AbstractFileSystem, file: str) -> Iterator[tuple[str, JsonObject]]:
    with fs.open(file, "rb") as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError):
                raise DataError(f"{file}, line {number}: not JSON") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}, line {number}: not an object of columns")
            yield f"{file}, line {number}", row
