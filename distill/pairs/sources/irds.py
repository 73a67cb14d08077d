"""A dataset of ir_datasets, by its ID, such as `beir/scifact/test` (extra `ir-datasets`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.errors import ConfigError, DataError
from distill.pairs.sources.base import Label, Passage, Query
from distill.texts import passage_text


class IrDatasets:
    """The ID names the split, so a configuration's `split` only names the part it becomes."""

    repeats = False
    labelled = True
    divided = False
    holds = ("its queries", "its docs")

    def __init__(self, name: str) -> None:
        self.name = name

    def files(self) -> list[Path]:
        """None of ours: an ID stands for fixed data."""
        return []

    def passages(self) -> Iterator[Passage]:
        """Title and text joined; a dataset's own `default_text` where it has no field text."""
        for number, doc in enumerate(self._open().docs_iter(), 1):
            text = getattr(doc, "text", None) or getattr(doc, "body", None)
            passage = passage_text(getattr(doc, "title", None), text) if text else doc.default_text()
            yield f"{self.name}: doc {number}", doc.doc_id, passage

    def queries(self) -> Iterator[Query]:
        """The narrative, where topics have one, becomes the instruction."""
        for number, query in enumerate(self._open().queries_iter(), 1):
            text = getattr(query, "title", None) or getattr(query, "text", None) or query.default_text()
            yield f"{self.name}: query {number}", query.query_id, text, getattr(query, "narrative", None) or None

    def labels(self, split: str | None) -> Iterator[Label]:
        """Its qrels."""
        for number, label in enumerate(self._open().qrels_iter(), 1):
            yield f"{self.name}: judgement {number}", label.query_id, label.doc_id, int(label.relevance)

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """None."""
        return iter(())

    def _open(self) -> Any:
        try:
            import ir_datasets
        except ImportError:
            raise ConfigError(
                'pairs.source ir_datasets needs its package: pip install "rerank-distill[ir-datasets]"'
            ) from None
        try:
            found = ir_datasets.load(self.name)
        except KeyError:
            raise ConfigError(f"pairs.path: ir_datasets knows no {self.name!r}") from None
        for what in ("docs", "queries", "qrels"):
            if not getattr(found, f"has_{what}")():
                raise DataError(f"{self.name}: has no {what}; name an ID that has docs, queries and qrels")
        return found
