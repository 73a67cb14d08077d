"""Texts by id (a corpus, or queries) from any table or TSV, for `documents` and `topics`, which read all forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from distill.errors import DataError
from distill.files.rows import ENDINGS, Row, rows, tab_lines
from distill.files.text import ending
from distill.files.values import id_of, is_missing, keys, plain_name, raw_text, text_of
from distill.tables import counted
from distill.texts import passage_text

# Names of columns, as `plain_name` writes them.
_IDS = ("_id", "id", "cord_uid", "pid", "passage_id", "docid", "doc_id", "docno", "qid", "query_id", "topic")
_PASSAGES = ("text", "contents", "body", "passage", "segment", "abstract", "title")
_QUERIES = ("text", "query", "title", "question")
_LESS = ("abstract", "title")  # each is the text only where no name before it is
_TITLE = ("title",)
_NEXT_TO_TITLES = {  # what a row with a title alone may have, and is no text of it
    *("url", "link", "date", "author", "authors", "lang", "language", "source", "doi", "type", "metadata"),
    *("desc", "description", "instruction", "narrative"),
}
_NOTES = ("instruction", "narrative")
_HEAD = 100  # first lines of a TSV that say whether its first line is a header
_NUMBERS = re.compile(r"[\s,.:+-]*\d[\d\s,.:+-]*")
_WORD = re.compile(r"[^\W\d]+(?:[-_. ][^\W\d]+)?")  # a column's name
_KEY = re.compile(r"\S*\d\S*")  # an id as people count them
# What columns of a TSV without a header hold throughout where they are no texts.
_NO_TEXTS = {
    "URLs": re.compile(r"(?:[a-z]+://|www\.)\S+").fullmatch,
    "numbers": re.compile(r"[-+]?[\d.,:/-]*\d").fullmatch,
    "codes of languages": re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?").fullmatch,
}
_PASSAGE_COLUMNS = {2: ("id", "text"), 3: ("id", "title", "text"), 4: ("id", "url", "title", "body")}
_QUERY_COLUMNS = {2: ("id", "text"), 3: ("id", "text", "instruction")}

_plain = lru_cache(maxsize=1024)(plain_name)  # of columns, the same in every row
_Row = TypeVar("_Row")
_Getter = Callable[[_Row], str]


@dataclass(frozen=True, slots=True)
class Text:
    """One passage or query: its place (file and line), id, text, and a query's instruction. Title and text are one."""

    where: str
    id: str
    text: str
    instruction: str | None = None


def worded(rows: Iterator[_Row], place: _Getter[_Row], text: _Getter[_Row]) -> Iterator[_Row]:
    """The rows. Raises DataError where the texts of the first hundred, two at least, are all numbers."""
    head = list(islice(rows, _HEAD))
    if len(head) > 1 and all(_NUMBERS.fullmatch(text(row)) for row in head):
        raise DataError(f"{place(head[0])}: the texts are numbers ({text(head[0])[:40]!r}); name the texts' column")
    yield from chain(head, rows)


def passage_rows(path: Path) -> Iterator[Text]:
    """Passages: a table with an id and a text (maybe a title), or TSV of id, text; id, title, text; or MS MARCO's
    id, url, title, body. A header is known by its names. Raises DataError with file and line.
    """
    where = ""
    for where, row in _rows(path, _PASSAGE_COLUMNS, _PASSAGES):
        name = _text_column(row, _PASSAGES, where)
        key = id_of(row.get(str(_id_column(row, where))), where)
        if key is None or name is None:
            raise DataError(f"{where}: a passage has an id and a text; this has {keys(row)}")
        titled = None if _plain(name) == "title" else one_column(row, _columns(tuple(row), _TITLE), "title", where)
        title = raw_text(row[titled], where, titled) if titled else ""
        yield Text(where, key, passage_text(title, raw_text(row[name], where, name)))
    if not where:
        raise DataError(f"{path}: is empty; it needs passages, an id and a text each")


def query_rows(path: Path) -> Iterator[Text]:
    """Queries: a table with an id and a text (maybe an instruction), or TSV of id, text or id, text, instruction.

    Raises DataError with file and line.
    """
    where = ""
    for where, row in _rows(path, _QUERY_COLUMNS, _QUERIES):
        name = _text_column(row, _QUERIES, where)
        key = id_of(row.get(str(_id_column(row, where))), where)
        if key is None or name is None:
            raise DataError(f"{where}: a query has an id and a text; this has {keys(row)}")
        note = next((name for name in _columns(tuple(row), _NOTES) if not is_missing(row[name])), None)
        instruction = text_of(row[note], where, note) if note else ""
        yield Text(where, key, text_of(row[name], where, name), instruction or None)
    if not where:
        raise DataError(f"{path}: is empty; it needs queries, an id and a text each")


def one_column(row: Row, names: Sequence[str], what: str, where: str) -> str | None:
    """The one of the columns that is the id or the text; None where there is none.

    Raises DataError where two of them may be it: they say different things in this row.
    """
    first = names[0] if names else None
    for name in names[1:]:
        if str(row[name]).strip() != str(row[first or name]).strip():
            raise DataError(
                f"{where}: {first!r} and {name!r} may both be the {what}; take the one out that is not, or rename it"
            )
    return first


def _id_column(row: Row, where: str) -> str | None:
    return one_column(row, _columns(tuple(row), _IDS), "id", where)


def _text_column(row: Row, texts: tuple[str, ...], where: str) -> str | None:
    """The text's column: of the names under which the row says anything, an abstract or a title only where it is alone.

    Raises DataError where it would be the title, and a column of another name holds anything.
    """
    names = _columns(tuple(row), texts)
    said = [name for name in names if not is_missing(row[name])] if len(names) > 1 else list(names)
    for less in reversed(_LESS) if len(said) > 1 else ():
        said = [name for name in said if _plain(name) != less] or said
    if said and {*map(_plain, names)} == {"title"}:
        known = {*names, *(name for name in row if _plain(name) in {*_IDS, *_NEXT_TO_TITLES})}
        other = [name for name in row if name not in known and isinstance(row[name], str | list | dict) and row[name]]
        if other:
            raise DataError(
                f"{where}: no column of the text is known but {said[0]!r}; call the text's column text, or take out "
                f"what is none ({', '.join(other)})"
            )
    return one_column(row, said or names, "text", where)


@lru_cache(maxsize=1024)
def _columns(row: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The row's columns of those names, case apart."""
    there = [name for known in names for name in row if _plain(name) == known]
    if there and _plain(there[0]) in ("pid", "passage_id"):  # of a passage of MS MARCO; docid is its document's
        return tuple(name for name in there if _plain(name) not in ("docid", "doc_id"))
    return tuple(there)


def _rows(path: Path, columns: dict[int, tuple[str, ...]], texts: Sequence[str]) -> Iterator[tuple[str, Row]]:
    if ending(path) not in (".tsv", ".txt", "") and (ending(path) in ENDINGS or not path.is_file()):
        return rows(path, "name JSON lines with _id and text, or a TSV of id and text")
    return _tab_rows(path, columns, texts)


def _tab_rows(path: Path, columns: dict[int, tuple[str, ...]], texts: Sequence[str]) -> Iterator[tuple[str, Row]]:
    names: tuple[str, ...] = ()
    names_of_columns = {*_IDS, *texts, *_NOTES, "title", "url"}
    forms = " or ".join(", ".join(form) for form in columns.values())
    numbered = tab_lines(path, "name JSON lines with _id and text, or a TSV of id and text")
    head = list(islice(numbered, _HEAD))
    for number, cells in chain(head, numbered):
        where = f"{path}:{number}"
        if not names:
            header = tuple(map(plain_name, cells))
            if set(header) & set(_IDS) and set(header) & {*texts, "url"}:
                if len(set(header)) < len(header):
                    raise DataError(f"{where}: two columns of one name; rename one")
                names = header
                continue
            if len(cells) not in columns:
                raise DataError(
                    f"{where}: {counted(len(cells), 'column')} by tabs; a line is {forms}, or a header names them"
                )
            _check_head([cells for _, cells in head], where, columns[len(cells)])
            names = columns[len(cells)]
        if len(cells) != len(names):
            raise DataError(
                f"{where}: {counted(len(cells), 'column')} by tabs, and {len(names)} before; take tabs out of texts"
            )
        if plain_name(cells[0]) in names_of_columns and {*map(plain_name, cells)} <= names_of_columns:
            raise DataError(f"{where}: a header within the file; files were joined: take it out")
        row: Row = dict(zip(names, cells, strict=True))
        url = row.get("url")
        if len(names) == 4 and isinstance(url, str) and url.strip() and "://" not in url:
            raise DataError(f"{where}: four columns are id, url, title, body, and {url[:40]!r} is no URL")
        yield where, row


def _check_head(head: Sequence[list[str]], where: str, form: Sequence[str]) -> None:
    """Raises DataError where a TSV's first lines show that its columns are not those of the form: the first line is a
    header of unknown names, all texts are quoted as in CSV, the first column counts the lines as pandas does, or one
    of three or four columns holds URLs, numbers or codes of languages throughout where a text belongs.
    """
    first, others = head[0], [cells for cells in head[1:] if len(cells) == len(form)]
    remedy = f"or put the header {', '.join(form)} above the lines, with tabs"
    if others and all(_WORD.fullmatch(cell.strip()) and len(cell) < 30 for cell in first):
        ids, texts = ([cells[place].strip() for cells in others] for place in (0, -1))
        if all(map(_KEY.fullmatch, ids)) or all(" " in text for text in texts):
            raise DataError(
                f"{where}: looks like a header of unknown names ({', '.join(first)}); "
                f"rename its columns to {', '.join(form)}, {remedy}"
            )
    if others and all(len(cells[-1]) > 1 and cells[-1][0] == cells[-1][-1] == '"' for cells in (first, *others)):
        raise DataError(f"{where}: quoted as CSV ({first[-1][:30]}); save as .csv, or without quotes")
    if len(form) < 3 or not others:
        return
    rows = [first, *others]
    if all(cells[0] == str(index) and _KEY.fullmatch(cells[1].strip()) for index, cells in enumerate(rows)):
        raise DataError(f"{where}: the first column looks like pandas' index; write with index=False, {remedy}")
    for place, name in enumerate(form):
        cells = [row[place].strip() for row in rows if row[place].strip()] if name not in ("id", "url") else []
        kind = next((kind for kind, known in _NO_TEXTS.items() if len(cells) > 1 and all(map(known, cells))), None)
        if kind:
            raise DataError(
                f"{where}: of {len(form)} columns without a header, column {place + 1} is the {name}, and here are "
                f"{kind} ({cells[0][:40]}); take the column out, {remedy}, where it is meant"
            )
