"""TREC's files: a corpus, topics and qrels, each a file of its own in any of the usual forms.

Topics: TSV (id, text), JSONL, or SGML (`<top>`), whose narrative becomes the instruction. Corpus: TSV (id, text, or
id, title, text) or JSONL (`_id`, `id` or `docid`; `text`, `contents` or `body`). All may be gzipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.errors import ConfigError, DataError
from distill.pairs.sources.base import Label, Passage, Query, keys, lines, rows
from distill.pairs.sources.beir import qrels_lines
from distill.texts import clean_text, passage_text

_IDS = ("_id", "id", "docid", "doc_id", "docno", "qid", "query_id", "query-id")
_TEXTS = ("text", "contents", "body", "passage", "query", "title")
_TAG = re.compile(r"<(num|title|desc|narr)>\s*(?:Number:|Topic:|Description:|Narrative:)?(.*?)(?=<|\Z)", re.S | re.I)


class Trec:
    """`files` has `corpus`, `queries` and, for each split, `qrels` or `qrels.SPLIT`."""

    repeats = False
    labelled = True
    divided = True

    def __init__(self, base: Path, files: Mapping[str, str]) -> None:
        for need in ("corpus", "queries"):
            if need not in files:
                raise ConfigError(
                    f"pairs.files: source trec needs {need}, and qrels, or qrels.SPLIT where there are several"
                )
        self._files = {key: base / value for key, value in files.items()}
        self.name = str(self._files.get("qrels", base))
        self.holds = (self._files["queries"].name, self._files["corpus"].name)

    def files(self) -> list[Path]:
        """All that are named."""
        return sorted(self._files.values())

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        path = self._files["corpus"]
        if ".tsv" in path.suffixes or ".txt" in path.suffixes:
            for where, fields in _tabbed(path):
                yield where, fields[0], passage_text(fields[1] if len(fields) > 2 else None, fields[-1])
            return
        for where, row in rows(path):
            key, text = _found(row, _IDS), _found(row, _TEXTS)
            if key is None or text is None:
                raise DataError(f"{where}: a line has an id and a text; this has {keys(row)}")
            title = row.get("title")
            yield where, str(key), passage_text(title if title != text else None, text)

    def queries(self) -> Iterator[Query]:
        """With the narrative, where topics have one, as the instruction."""
        path = self._files["queries"]
        if ".jsonl" in path.suffixes:
            for where, row in rows(path):
                key, text = _found(row, _IDS), _found(row, ("text", "query", "title"))
                if key is None or text is None:
                    raise DataError(f"{where}: a topic has an id and a text; this has {keys(row)}")
                yield where, str(key), clean_text(text), row.get("instruction") or row.get("narrative") or None
            return
        first = next(lines(path), (1, ""))[1]
        if first.lstrip().lower().startswith("<"):
            yield from _sgml(path)
            return
        for where, fields in _tabbed(path):
            yield where, fields[0], clean_text(fields[1]), None

    def labels(self, split: str | None) -> Iterator[Label]:
        """Of `qrels.SPLIT`, else of `qrels`."""
        path = self._files.get(f"qrels.{split}") or self._files.get("qrels")
        if path is None:
            there = [key for key in self._files if key.startswith("qrels")]
            raise ConfigError(f"pairs.files: no qrels.{split}; there is {', '.join(there) or 'no qrels at all'}")
        return qrels_lines(path)

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """None; a run is named under `negatives`."""
        return iter(())


def _tabbed(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in lines(path):
        fields = line.split("\t")
        if len(fields) < 2:
            raise DataError(f"{path}:{number}: one column; a line is id and text, by a tab")
        yield f"{path}:{number}", fields


def _sgml(path: Path) -> Iterator[Query]:
    text = "\n".join(line for _, line in lines(path))
    for number, block in enumerate(re.split(r"<top>", text, flags=re.I)[1:], 1):
        found = {tag.lower(): " ".join(value.split()) for tag, value in _TAG.findall(block)}
        if not found.get("num") or not (found.get("title") or found.get("desc")):
            raise DataError(f"{path}: topic {number} has no <num>, or neither <title> nor <desc>")
        yield f"{path}: topic {number}", found["num"], found.get("title") or found["desc"], found.get("narr") or None


def _found(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)
