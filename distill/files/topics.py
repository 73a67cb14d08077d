"""TREC topics in SGML and XML of all tracks, for source trec and `distill rerank`; no XML parser reads the old ones."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError
from distill.files.text import ending, lines
from distill.files.texts import Text, query_rows
from distill.texts import clean_text

_TOPIC = re.compile(r"<top(?:ic)?(?=[\s>])([^>]*)>", re.I)
_END = re.compile(r"</top(?:ic)?\s*>", re.I)
# The fields of a topic. Any other `<` is text; the last three end a field and are not read.
_FIELDS = ("num", "number", "title", "query", "question", "desc", "description", "summary", "note", "narr", "narrative")
_TAG = re.compile(rf"<(/?)({'|'.join(_FIELDS)}|head|dom|smry|con|fac|def|nat|subtopic)(?:\s[^<>]*)?>", re.I)
_QUERY = ("title", "query", "desc", "description", "question", "summary", "note", "")
_LABEL = re.compile(r"\s*(?:Number|Topic|Query|Description|Narrative|Summary)\s*:", re.I)
_NUMBER = re.compile(r"""\b(?:number|id|num)\s*=\s*["']?([^"'\s>]+)""", re.I)


def queries_of(path: Path) -> Iterator[Text]:
    """Queries in any form: topics where the first line that holds anything begins with `<`, else `query_rows`."""
    first = next(lines(path), (1, ""))[1] if path.is_file() and ending(path) != ".parquet" else ""
    return topic_rows(path) if first.lstrip().startswith("<") else query_rows(path)


def topic_rows(path: Path) -> Iterator[Text]:
    """The topics of a file, `<top>` or `<topic>` each: title (or query, description, question, summary, note, or the
    topic's own text) as the query, the narrative as its instruction. Entities are decoded.

    Raises DataError with file and line for a topic without a number or a query, or with a field twice.
    """
    text, starts = "", []
    for number, line in lines(path):
        starts.append((len(text), number))
        text += line + "\n"
    text = re.sub(r"<!--.*?-->", lambda comment: " " * len(comment.group()), text, flags=re.S)
    topics = list(_TOPIC.finditer(text))
    if not topics:
        raise DataError(f"{path}: no <top> or <topic>; topics are TREC's SGML or XML, TSV, or JSON lines")
    for topic, after in zip(topics, [*topics[1:], None], strict=True):
        where = f"{path}:{next(line for start, line in reversed(starts) if start <= topic.start())}"
        body = text[topic.end() : after.start() if after else len(text)]
        end = _END.search(body)
        fields = _fields(body[: end.start()] if end else body, where)
        attribute = _NUMBER.search(topic.group(1))
        key = fields.get("num") or fields.get("number") or (attribute.group(1) if attribute else "")
        query = next((fields[name] for name in _QUERY if fields.get(name)), "")
        if not key or not query:
            raise DataError(f"{where}: a topic needs <num> (or number=), and <title>, <query>, <desc> or text")
        yield Text(where, key, query, fields.get("narr") or fields.get("narrative") or None)


def _fields(body: str, where: str) -> dict[str, str]:
    """{field: text}; "" is the topic's text outside all fields."""
    fields: dict[str, str] = {}
    name, start = "", 0
    tags = [(tag.start(), tag.end(), "" if tag.group(1) else tag.group(2).lower()) for tag in _TAG.finditer(body)]
    for begin, end, following in [*tags, (len(body), len(body), "")]:
        text = _plain(body[start:begin], bool(name))
        if text and name in fields and name:
            raise DataError(f"{where}: a topic with two <{name}>; keep one")
        if text:
            fields[name] = f"{fields.get(name, '')} {text}".strip()
        name, start = following, end
    return fields


def _plain(text: str, labelled: bool) -> str:
    text = re.sub(r"<!\[CDATA\[(.*?)\]\]>", lambda data: html.escape(data.group(1)), text, flags=re.S)
    if labelled:
        text = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    return clean_text(" ".join(html.unescape(text).split()))
