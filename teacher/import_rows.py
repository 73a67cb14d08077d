"""Rows of traces that exist: what they are matched by, and what they say. Called by `teacher.sources.import_`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from distill.answers import JsonObject, JsonValue
from distill.answers.message import read_message, read_parts
from distill.errors import ConfigError, DataError
from distill.files.rows import ENDINGS, is_junk, rows
from distill.files.text import ending
from distill.files.values import is_missing, nearest, plain_name
from distill.inputs import input_path
from distill.prompts import PROMPTS, THINK, teacher_prompt
from distill.records import digest
from distill.texts import clean_text, passage_text

KNOWN: dict[str, tuple[str, ...]] = {  # what a column is called where `columns` does not say; as `plain_name` writes it
    "query": ("query",),
    "passage": ("passage", "document", "text"),
    "title": ("title",),
    "instruction": ("instruction",),
    "query_id": ("query_id", "qid"),
    "doc_id": ("doc_id", "corpus_id", "docid", "pid"),
    "messages": ("messages",),
    "prompt": ("prompt",),
    "completion": ("completion", "output", "response"),
    "reasoning": ("reasoning", "reasoning_content", "thinking"),
    "content": ("content", "answer"),
    "verdict": ("verdict",),
    "finish_reason": ("finish_reason",),
    "model": ("model",),
    "p_relevant": ("p_relevant",),
}
_WORDS = {
    "yes": "true",
    "no": "false",
    "1": "true",
    "0": "false",
    "1.0": "true",
    "0.0": "false",
    "relevant": "true",
    "not relevant": "false",
}


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One row: its file and line, the keys that it is matched by, the text that the first of them is made of.

    `ids` are those of its query and passage in a row that is matched by texts, None where it does not say both.
    `refused` says why the row is no trace, else None.
    """

    where: str
    keys: tuple[str, ...]
    text: str
    reasoning: str = ""
    content: str = ""
    finish_reason: str | None = None
    model: str | None = None
    refused: str | None = None
    ids: tuple[str, str] | None = None
    p_relevant: float | None = None


def text_key(text: str) -> str:
    """The key of a prompt, whatever white space is in it."""
    return digest(" ".join(text.split()))


def id_key(query_id: str, doc_id: str) -> str:
    """The key of a query's and a passage's ids."""
    return digest("ids", query_id, doc_id)


def import_rows(path: str, columns: dict[str, str], prompt: str) -> Iterator[ImportedRow]:
    """The rows of a file or a folder of files, remote or not; `prompt` names the prompt that verdicts are read by.

    Raises ConfigError where no such file or column of ours is there, DataError with file and line for what cannot be
    read, and for a row without the columns that it could be matched by.
    """
    unknown = sorted(set(columns) - set(KNOWN))
    if unknown:
        raise ConfigError(f"teacher.import.columns: {unknown[0]!r} is none of {', '.join(KNOWN)}")
    for where, raw in _rows(path):
        yield _read(where, {name: _value(raw, name, columns, where) for name in KNOWN}, raw, columns, prompt)


def _rows(path: str) -> Iterator[tuple[str, JsonObject]]:
    place = input_path(Path(), path)
    if not place.exists():
        raise ConfigError(f"teacher.import.path: {path}: no such file")
    files = [place]
    if place.is_dir():
        files = [file for file in sorted(place.iterdir()) if not is_junk(Path(file.name)) and ending(file) in ENDINGS]
    if not files:
        raise ConfigError(f"teacher.import.path: {path}: holds no file that ends in {', '.join(ENDINGS)}")
    for file in files:
        yield from cast("Iterator[tuple[str, JsonObject]]", rows(file))


def _value(raw: JsonObject, name: str, columns: dict[str, str], where: str) -> JsonValue:
    """The value of the column that is named, or of the first known one that holds anything; case does not count."""
    named = columns.get(name)
    there = _columns(tuple(raw), KNOWN[name] if named is None else (named,))
    if named is None:
        return next((raw[column] for column in there if not is_missing(raw[column])), None)
    if not there:
        near = nearest(named, raw)
        raise DataError(f"{where}: no column {named!r}, which teacher.import.columns.{name} names{near}")
    return raw[there[0]]


@lru_cache(maxsize=1024)
def _columns(row: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a row that have one of the names, in the names' order."""
    return tuple(column for name in names for column in row if plain_name(column) == plain_name(name))


def _read(where: str, row: JsonObject, raw: JsonObject, columns: dict[str, str], prompt: str) -> ImportedRow:
    asked, told = _conversation(row["messages"])
    if row["prompt"] is not None:
        asked = _conversation(row["prompt"])[0] if isinstance(row["prompt"], list) else _text(row["prompt"])
    text, keys = "", ()  # type: tuple[str, tuple[str, ...]]
    query, passage = _text(row["query"]), _text(row["passage"])
    query_id, doc_id = _text(row["query_id"]), _text(row["doc_id"])
    if asked:
        text = asked.strip().removesuffix(THINK).rstrip()
        keys = (text_key(text),)
    elif query and passage:
        instruction = _text(row["instruction"]) or None
        text = teacher_prompt(query, passage, instruction)
        keys = (text_key(text),)
        if title := _text(row["title"]):
            keys = (*keys, text_key(teacher_prompt(query, passage_text(title, passage), instruction)))
    elif query_id and doc_id:
        text, keys = f"{query_id} {doc_id}", (id_key(query_id, doc_id),)
    else:
        _need_columns(where, raw, columns)
        return ImportedRow(where, (), "", refused="holds nothing that it could be matched by")
    reasoning, content = _answer(row, told, prompt)
    refused = None if reasoning or content else "holds neither reasoning nor an answer"
    finish, model = _text(row["finish_reason"]) or None, _text(row["model"]) or None
    ids = (query_id, doc_id) if query_id and doc_id else None
    sure = _probability(where, row["p_relevant"])
    return ImportedRow(where, keys, text, reasoning, content, finish, model, refused, ids, sure)


def _probability(where: str, value: JsonValue) -> float | None:
    """A probability, None where it is missing. Raises DataError for anything else."""
    if is_missing(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1:
        raise DataError(f"{where}: p_relevant is {value!r}; it is a probability from 0 to 1, or nothing")
    return number


def _need_columns(where: str, raw: JsonObject, columns: dict[str, str]) -> None:
    """Raise DataError where a row lacks the columns, rather than values in them."""
    there = {name for name in KNOWN if name in columns or _columns(tuple(raw), KNOWN[name])}
    if not any(names <= there for names in ({"prompt"}, {"messages"}, {"query", "passage"}, {"query_id", "doc_id"})):
        raise DataError(
            f"{where}: neither prompt, nor query and passage, nor query_id and doc_id; name them in "
            "teacher.import.columns"
        )


def _conversation(messages: JsonValue) -> tuple[str, JsonObject | None]:
    """(what the last user message asks, the answer after it) of a list of messages."""
    asked, answer = "", None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        if message.get("role") == "user":
            asked, answer = read_parts(message.get("content"))[1], None
        elif message.get("role") == "assistant":
            answer = message
    return asked.strip(), answer


def _answer(row: JsonObject, told: JsonObject | None, prompt: str) -> tuple[str, str]:
    """(reasoning, answer) of a row: of its completion, text or messages, else of its own columns."""
    completion = row["completion"]
    if isinstance(completion, list):
        told = _conversation([{"role": "user", "content": "x"}, *completion])[1] or told
    elif completion is not None:
        told = {"content": _text(completion)}
    if told is not None:
        reasoning, content = read_message(told)
    else:
        content_value = row["content"]
        plain = not isinstance(content_value, list | dict)
        shown = _text(content_value) if plain else content_value
        reasoning, content = read_message({"reasoning": _text(row["reasoning"]), "content": shown})
    content = content or _text(row["verdict"])
    if len(PROMPTS[prompt].verdicts) == 2:  # of a graded prompt, 1 and 0 are grades
        content = _WORDS.get(content.lower(), content)
    return reasoning or _text(row["reasoning"]), content


def _text(value: JsonValue) -> str:
    """A plain value as text: true and false in these words, 1.0 as 1; "" for what is missing, lists and objects."""
    if isinstance(value, list | dict) or is_missing(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return clean_text(str(value))
