"""TREC's documents in SGML (`<DOC>`, as on its disks and in Cranfield's collection), and passages in any other form.

Called by source trec and `distill rerank`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError
from distill.files.text import ending, lines
from distill.files.texts import Text, passage_rows
from distill.texts import clean_text, passage_text

_START, _END = re.compile(r"<doc(?:\s[^<>]*)?>", re.I), re.compile(r"</doc\s*>", re.I)
_ID = re.compile(r"<docno\s*>(.*?)</docno\s*>", re.I | re.S)
_TITLE = re.compile(r"<(title|headline|head|hl|ti)\s*>(.*?)</\1\s*>", re.I | re.S)
_TEXT = re.compile(r"<text\s*>(.*?)</text\s*>", re.I | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.I)


def passages_of(path: Path) -> Iterator[Text]:
    """Passages in any form: TREC's documents where the first line that holds anything begins with `<` and has no tab,
    else `passage_rows`. Raises DataError with file and line.
    """
    first = next(lines(path), (1, ""))[1] if path.is_file() and ending(path) != ".parquet" else ""
    return document_rows(path) if first.lstrip().startswith("<") and "\t" not in first else passage_rows(path)


def document_rows(path: Path) -> Iterator[Text]:
    """The documents of a file: `<DOCNO>`, the first title or headline, and all `<TEXT>`; tags within these are taken
    out and entities decoded. Other fields are not read.

    Raises DataError with file and line for a document without `<DOCNO>`, with neither title nor `<TEXT>`, or that does
    not end, and for a file without documents.
    """
    document: list[str] = []
    where = ""
    for number, line in lines(path):
        if not document and not (start := _START.search(line)):
            continue
        if document and _START.search(line):
            break
        if not document and start:
            where, line = f"{path}:{number}", line[start.start() :]
        document.append(line)
        if _END.search(line):
            yield _document("\n".join(document), where)
            document = []
    if document:
        raise DataError(f"{where}: a <DOC> without its </DOC> before the next one; begin a line with each")
    if not where:
        raise DataError(f"{path}: markup without <DOC>; a corpus is TREC's documents, TSV, or a table with id and text")


def _document(document: str, where: str) -> Text:
    document = _COMMENT.sub(" ", document)
    key, texts, title = _ID.search(document), _TEXT.findall(document), _TITLE.search(_TEXT.sub(" ", document))
    if key is None or not _plain(key.group(1)):
        raise DataError(f"{where}: a document without <DOCNO>")
    if title is None and not texts:
        raise DataError(f"{where}: a document with neither a title nor <TEXT>; take the text out of web pages first")
    if len(_END.findall(document)) > 1:
        raise DataError(f"{where}: two documents in one line; begin a line with each <DOC>")
    heading = _plain(title.group(2)) if title else ""
    return Text(where, _plain(key.group(1)), passage_text(heading, _plain(" ".join(texts))))


def _plain(text: str) -> str:
    return clean_text(" ".join(html.unescape(_TAG.sub(" ", text)).split()))
