"""Tevatron's training layout, in which MS MARCO with mined hard negatives is published: one JSON object a query.

`{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [...]}`, JSONL, gzipped
or not, or a folder of such files. Positives are judged; the negatives were mined by whoever made the file, so they are
`listed`, not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.pairs.sources.base import Label, Passage, Query, keys, rows
from distill.texts import clean_text, passage_text

NEEDED = ("query_id", "query", "positive_passages", "negative_passages")


class Tevatron:
    """The file, or the folder of files; there is one split, whatever it is called."""

    repeats = True
    labelled = True
    divided = False
    holds = ("the file", "the file")

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def files(self) -> list[Path]:
        """Those of the folder, or the one."""
        if self._path.is_dir():
            return sorted(p for p in self._path.iterdir() if ".jsonl" in p.suffixes)
        return [self._path]

    def passages(self) -> Iterator[Passage]:
        """Positives and negatives of every query; one that stands in several lists is one passage."""
        for where, row in self._rows():
            for passage in (*row["positive_passages"], *row["negative_passages"]):
                yield where, str(passage["docid"]), passage_text(passage.get("title"), passage["text"])

    def queries(self) -> Iterator[Query]:
        """All."""
        for where, row in self._rows():
            yield where, str(row["query_id"]), clean_text(row["query"]), row.get("instruction") or None

    def labels(self, split: str | None) -> Iterator[Label]:
        """The positives, grade 1."""
        for where, row in self._rows():
            for passage in row["positive_passages"]:
                yield where, str(row["query_id"]), str(passage["docid"]), 1

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """The lists, in their order."""
        for _, row in self._rows():
            for passage in row["negative_passages"]:
                yield str(row["query_id"]), str(passage["docid"])

    def _rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in self.files():
            for where, row in rows(path):
                if not all(key in row for key in NEEDED):
                    raise DataError(f"{where}: a line has {', '.join(NEEDED)}; this has {keys(row)}")
                for passage in (*row["positive_passages"], *row["negative_passages"]):
                    if not isinstance(passage, dict) or "docid" not in passage or "text" not in passage:
                        raise DataError(f"{where}: a passage has docid and text; this has {keys(passage)}")
                yield where, row
