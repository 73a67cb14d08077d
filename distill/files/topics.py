"""TREC topics in SGML and XML of all tracks, for source trec and `distill rerank`; no XML parser reads the old ones."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from distill.errors import DataError
from distill.files.text import ending, lines
from distill.files.texts import Text, query_rows
from distill.texts import clean_text

_TOPIC = re.compile(r"<top(?:ic)?(?=[\s>])([^>]*)>", re.I)
_END = re.compile(r"</top(?:ic)?\s*>", re.I)
# The fields of a topic, with a language before them in CLEF's (`EN-title`). Any other `<` is text; the tags
# from head on end a field and are not read.
_FIELDS = ("num", "number", "title", "query", "question", "desc", "description", "summary", "note", "narr", "narrative")
_PARTS = ("disease", "gene", "variant", "demographic", "treatment", "other", "field")  # of a query that has no other
_TAG = re.compile(
    rf"<(/?)(?:[a-z]{{2}}-)?({'|'.join((*_FIELDS, *_PARTS))}|head|dom|smry|con|fac|def|nat|subtopic)(\s[^<>]*)?>", re.I
)
_MARKUP = re.compile(r"""</?[a-z][\w:.-]*(?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>"']+))*\s*/?>""", re.I)
_NAME = re.compile(r"""\bname\s*=\s*["']([^"']*)""", re.I)
_TEMPLATE = re.compile(r"""\btemplate\s*=\s*["']([^"']*)""", re.I)
_QUERY = ("title", "query", "desc", "description", "question", "summary", "note")
_LABEL = re.compile(r"\s*(?:Number|Topic|Query|Description|Narrative|Summary)\s*:", re.I)
_NUMBER = re.compile(r"""\b(?:number|id|num)\s*=\s*["']?([^"'\s>]+)""", re.I)


def queries_of(path: Path) -> Iterator[Text]:
    """Queries in any form: topics where the first line that holds anything begins with `<`, else `query_rows`."""
    first = next(lines(path), (1, ""))[1] if path.is_file() and ending(path) != ".parquet" else ""
    return topic_rows(path) if first.lstrip().startswith("<") else query_rows(path)


def topic_rows(path: Path) -> Iterator[Text]:
    """The topics of a file, `<top>` or `<topic>` each: title (or query, description, question, summary, note, or the
    topic's fields of other tracks, or its own text) as the query, the narrative as its instruction, entities decoded.

    Raises DataError with file and line for a topic without a number or a query, with a field twice, or with a tag
    in a text that is read.
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
        query = query or _joined(fields, topic.group(1)) or fields.get("", "")
        instruction = fields.get("narr") or fields.get("narrative") or ""
        if not key or not query:
            raise DataError(f"{where}: a topic needs <num> (or number=), and <title>, <query>, <desc> or text")
        markup = _MARKUP.search(f"{query} {instruction}")
        if markup:
            raise DataError(f"{where}: {markup.group()[:40]} in a topic is none of its fields; take the tag out")
        yield Text(where, _decoded(key), _decoded(query), _decoded(instruction) or None)


def _joined(fields: Mapping[str, str], attributes: str) -> str:
    """The query of topics of Precision Medicine and Clinical Trials 2023: their fields' texts, after the template."""
    parts = [text for name, text in fields.items() if name.split(" ")[0] in _PARTS and text.lower() != "none"]
    template = _TEMPLATE.search(attributes)
    return ", ".join([template.group(1), *parts] if template and parts else parts)


def _fields(body: str, where: str) -> dict[str, str]:
    """{field: text}, entities as they are; "" is the topic's text outside all fields."""
    fields: dict[str, str] = {}
    name, start, label = "", 0, ""
    for tag in [*_TAG.finditer(body), None]:
        text = _plain(body[start : tag.start() if tag else len(body)], bool(name))
        if text and name in fields and name in _FIELDS:
            raise DataError(f"{where}: a topic with two <{name}>; keep one")
        if text:
            fields[name] = f"{fields.get(name, '')} {label}{text}".strip()
        if tag:
            name, start, label = "" if tag.group(1) else tag.group(2).lower(), tag.end(), ""
            named = _NAME.search(tag.group(3) or "") if name == "field" else None
            if named:
                name, label = f"field {named.group(1)}", f"{named.group(1)}: "
    return fields


def _plain(text: str, labelled: bool) -> str:
    text = re.sub(r"<!\[CDATA\[(.*?)\]\]>", lambda data: html.escape(data.group(1)), text, flags=re.S)
    if labelled:
        text = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    return " ".join(text.split())


def _decoded(text: str) -> str:
    return clean_text(" ".join(html.unescape(text).split()))
