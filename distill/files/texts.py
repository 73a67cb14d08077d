"""Texts by id (a corpus, or queries) from any table or TSV: source trec and `distill rerank` read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import DataError
from distill.files.rows import ENDINGS, Row, rows, tab_lines
from distill.files.text import ending
from distill.files.values import id_of, is_missing, keys, raw_text, text_of
from distill.texts import passage_text

_IDS = ("_id", "id", "pid", "passage_id", "docid", "doc_id", "docno", "qid", "query_id", "query-id", "topic")
_PASSAGES = ("text", "contents", "body", "passage", "segment", "title")
_QUERIES = ("text", "query", "title", "question")
_NOTES = ("instruction", "narrative")
_PASSAGE_COLUMNS = {2: ("id", "text"), 3: ("id", "title", "text"), 4: ("id", "url", "title", "body")}
_QUERY_COLUMNS = {2: ("id", "text"), 3: ("id", "text", "instruction")}


@dataclass(frozen=True, slots=True)
class Text:
    """One passage or query: its place (file and line), id, text, and a query's instruction. Title and text are one."""

    where: str
    id: str
    text: str
    instruction: str | None = None


def passage_rows(path: Path) -> Iterator[Text]:
    """Passages: a table with an id and a text (maybe a title), or TSV of id, text; id, title, text; or MS MARCO's
    id, url, title, body. A header is known by its names. Raises DataError with file and line.
    """
    for where, row in _rows(path, _PASSAGE_COLUMNS, _PASSAGES):
        name = _first(row, _PASSAGES)
        key = id_of(row.get(str(_first(row, _IDS))), where)
        if key is None or name is None:
            raise DataError(f"{where}: a passage has an id and a text; this has {keys(row)}")
        title = "" if name == "title" else raw_text(row.get("title"), where, "title")
        yield Text(where, key, passage_text(title, raw_text(row[name], where, name)))


def query_rows(path: Path) -> Iterator[Text]:
    """Queries: a table with an id and a text (maybe an instruction), or TSV of id, text or id, text, instruction.

    Raises DataError with file and line.
    """
    for where, row in _rows(path, _QUERY_COLUMNS, _QUERIES):
        name = _first(row, _QUERIES)
        key = id_of(row.get(str(_first(row, _IDS))), where)
        if key is None or name is None:
            raise DataError(f"{where}: a query has an id and a text; this has {keys(row)}")
        note = _first(row, _NOTES)
        instruction = text_of(row[note], where, note) if note else ""
        yield Text(where, key, text_of(row[name], where, name), instruction or None)


def _first(row: Row, names: Sequence[str]) -> str | None:
    """The first of the names under which the row says anything, else the first that it has."""
    there = [name for name in names if name in row]
    return next((name for name in there if not is_missing(row[name])), there[0] if there else None)


def _rows(path: Path, columns: dict[int, tuple[str, ...]], texts: Sequence[str]) -> Iterator[tuple[str, Row]]:
    if ending(path) not in (".tsv", ".txt", "") and (ending(path) in ENDINGS or not path.is_file()):
        return rows(path, "name JSON lines with _id and text, or a TSV of id and text")
    return _tab_rows(path, columns, texts)


def _tab_rows(path: Path, columns: dict[int, tuple[str, ...]], texts: Sequence[str]) -> Iterator[tuple[str, Row]]:
    names: tuple[str, ...] = ()
    forms = " or ".join(", ".join(form) for form in columns.values())
    for number, cells in tab_lines(path, "name JSON lines with _id and text, or a TSV of id and text"):
        where = f"{path}:{number}"
        if not names:
            header = tuple(cell.strip().lower() for cell in cells)
            if header[0] in _IDS and len(header) > 1 and set(header) & {*texts, "url"}:
                if len(set(header)) < len(header):
                    raise DataError(f"{where}: two columns of one name; rename one")
                names = header
                continue
            if len(cells) not in columns:
                raise DataError(f"{where}: {len(cells)} columns by tabs; a line is {forms}, or a header names them")
            names = columns[len(cells)]
        if len(cells) != len(names):
            raise DataError(f"{where}: {len(cells)} columns by tabs, and {len(names)} before; take tabs out of texts")
        row: Row = dict(zip(names, cells, strict=True))
        url = row.get("url")
        if len(names) == 4 and isinstance(url, str) and url.strip() and "://" not in url:
            raise DataError(f"{where}: four columns are id, url, title, body, and {url[:40]!r} is no URL")
        yield where, row
