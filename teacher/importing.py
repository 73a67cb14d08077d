"""`source: import`: traces that exist, put beside the pairs they are about. Nothing is asked and nothing is paid.

A row is matched by its prompt, or by query, instruction and passage, or by query and document id; the rows of one pair
are its samples, in the file's order. Values are kept as they are: what does not parse is for the filters to reject.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from distill.answers.finish import finish_of
from distill.answers.text import split_reasoning
from distill.errors import ConfigError, DataError
from distill.prompts import THINK, teacher_prompt
from distill.records import Answer, Pair, digest, make_request
from distill.store import filesystem
from teacher.client import guess_prompt, guess_tokens
from teacher.settings import TeacherSettings

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


def imported(
    pairs: Iterable[Pair], settings: TeacherSettings, scratch: Path
) -> Iterator[tuple[Pair, int, Answer | None]]:
    """(pair, sample, answer) for every pair and sample found; None for a pair of which the file knows nothing.

    Raises ConfigError (no such file, a column that is not there), DataError (a line that cannot be read).
    """
    assert settings.import_ is not None
    path, columns = settings.import_.path, settings.import_.columns
    unknown = set(columns) - set(KNOWN)
    if unknown:
        raise ConfigError(f"teacher.import.columns: {sorted(unknown)[0]!r} is none of {', '.join(KNOWN)}")
    scratch.unlink(missing_ok=True)
    base = sqlite3.connect(scratch)
    try:
        base.execute("CREATE TABLE found(key TEXT, answer TEXT)")
        base.executemany("INSERT INTO found VALUES (?, ?)", _keyed(path, columns))
        base.execute("CREATE INDEX by_key ON found(key)")
        for pair in pairs:
            yield from _of_pair(pair, settings, base)
    finally:
        base.close()
        scratch.unlink(missing_ok=True)


def _of_pair(
    pair: Pair, settings: TeacherSettings, base: sqlite3.Connection
) -> Iterator[tuple[Pair, int, Answer | None]]:
    content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt)
    plain = teacher_prompt(pair.query, pair.passage, pair.instruction)  # what a row of texts is keyed by (`_key`)
    keys = (digest(content), digest(plain), digest("ids", pair.query_id, pair.doc_id))
    rows = base.execute("SELECT answer FROM found WHERE key IN (?, ?, ?) ORDER BY rowid", keys).fetchall()
    if not rows:
        yield pair, 0, None
    messages = [{"role": "user", "content": content}]
    for sample, (text,) in enumerate(rows[: settings.sampled.first]):
        row = json.loads(text)
        request = make_request(settings.teacher_name, messages, settings.sampling(sample), sample)
        yield (
            pair,
            sample,
            Answer(
                request.request_id,
                row["reasoning"],
                row["content"],
                row["finish_reason"],
                guess_prompt(messages),
                guess_tokens(row["reasoning"] + row["content"]),
                teacher={"name": settings.teacher_name, "model": row["model"], "endpoint": None, "sampling": None},
                estimated=True,
            ),
        )


def _keyed(path: str, columns: dict[str, str]) -> Iterator[tuple[str, str]]:
    for where, raw in _rows(path):
        row = {name: _value(raw, name, columns, where) for name in KNOWN}
        if row["completion"] is not None:
            reasoning, content = split_reasoning(None, row["completion"])
        else:
            reasoning, content = split_reasoning(row["reasoning"], row["content"])
        answer = {
            "reasoning": reasoning,
            "content": _WORDS.get(content.strip().lower(), content),
            "finish_reason": finish_of(row["finish_reason"])[0],
            "model": row["model"],
        }
        yield _key(row, where), json.dumps(answer)


def _key(row: dict[str, str | None], where: str) -> str:
    if row["prompt"] is not None:
        return digest(row["prompt"].rstrip().removesuffix(THINK).rstrip())
    if row["query"] is not None and row["passage"] is not None:
        return digest(teacher_prompt(row["query"], row["passage"], row["instruction"]))
    if row["query_id"] is not None and row["doc_id"] is not None:
        return digest("ids", row["query_id"], row["doc_id"])
    raise DataError(
        f"{where}: neither prompt, nor query and passage, nor query_id and doc_id; name them in teacher.import.columns"
    )


def _value(raw: dict[str, Any], name: str, columns: dict[str, str], where: str) -> str | None:
    if name in columns:
        if columns[name] not in raw:
            raise DataError(f"{where}: no column {columns[name]!r}, which teacher.import.columns.{name} names")
        value = raw[columns[name]]
    else:
        value = next((raw[each] for each in KNOWN[name] if each in raw), None)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    fs, inner = filesystem(path)
    if not fs.exists(inner):
        raise ConfigError(f"teacher.import.path: {path}: no such file")
    files = sorted(fs.ls(inner, detail=False)) if fs.isdir(inner) else [inner]
    files = [each for each in files if each.endswith((".parquet", ".jsonl"))]
    if not files:
        raise ConfigError(f"teacher.import.path: {path}: holds no .parquet or .jsonl file")
    for file in files:
        yield from (_parquet if file.endswith(".parquet") else _jsonl)(fs, file)


def _parquet(fs: Any, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _jsonl(fs: Any, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
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
