"""A dataset of ir_datasets, by its ID, such as `beir/scifact/test` (extra `ir-datasets`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import ConfigError, DataError
from distill.files.splits import SPLITS
from distill.files.values import gain_of, text_of
from distill.pairs.sources.base import Label, Passage, Query, Source
from distill.texts import passage_text

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings


class IrDatasets(Source):
    """The ID names the split, so a configuration's `split` only names the part it becomes."""

    holds = ("its queries", "its docs")

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        return cls(settings.path)

    def check_split(self, split: str) -> None:
        """Raise ConfigError where the ID names another split."""
        named = [word for word in re.split(r"\W", self.name.lower()) if word in SPLITS]
        if named and split.lower() not in named:
            raise ConfigError(f"split: {split!r}, and the ID {self.name!r} is of {named[-1]}; the ID names the split")

    def files(self) -> list[Path]:
        """None of ours: an ID stands for fixed data."""
        return []

    def passages(self) -> Iterator[Passage]:
        """Title and text joined; a dataset's own `default_text` where it has no field text."""
        for number, doc in self._numbered("docs"):
            where = f"{self.name}: doc {number}"
            text = getattr(doc, "text", None) or getattr(doc, "body", None)
            passage = passage_text(getattr(doc, "title", None), text) if text else text_of(doc.default_text(), where)
            yield where, doc.doc_id, passage

    def queries(self) -> Iterator[Query]:
        """The narrative, where topics have one, becomes the instruction."""
        for number, query in self._numbered("queries"):
            where = f"{self.name}: query {number}"
            text = getattr(query, "title", None) or getattr(query, "text", None) or query.default_text()
            narrative = text_of(getattr(query, "narrative", None), where, "narrative")
            yield where, query.query_id, text_of(text, where), narrative or None

    def labels(self, split: str | None) -> Iterator[Label]:
        """Its qrels."""
        for number, label in self._numbered("qrels"):
            where = f"{self.name}: judgement {number}"
            yield where, label.query_id, label.doc_id, gain_of(label.relevance, where)

    def _numbered(self, what: str) -> Iterator[tuple[int, Any]]:
        """The dataset's docs, queries or qrels, counted. Raises DataError where they cannot be had."""
        dataset = self._open()
        try:
            yield from enumerate(getattr(dataset, f"{what}_iter")(), 1)
        except (OSError, RuntimeError) as error:  # of the network, or of files that are not there
            reason = " ".join(str(error).split())[:300]
            raise DataError(
                f"{self.name}: ir_datasets cannot give its {what} ({type(error).__name__}: {reason})"
            ) from None

    def _open(self) -> Any:
        try:
            import ir_datasets
        except ImportError:
            raise ConfigError(
                'pairs.source ir_datasets needs its package: pip install "rerank-distill[ir-datasets]"'
            ) from None
        try:
            dataset = ir_datasets.load(self.name)
        except KeyError:
            near = self.name.rpartition("/")[0]
            known = sorted(key for key in getattr(ir_datasets, "registry", ()) if near and str(key).startswith(near))
            raise ConfigError(
                f"pairs.path: ir_datasets knows no {self.name!r}" + (f"; there are {', '.join(known)}" if known else "")
            ) from None
        for what in ("docs", "queries", "qrels"):
            if not getattr(dataset, f"has_{what}")():
                raise DataError(f"{self.name}: has no {what}; name an ID that has docs, queries and qrels")
        return dataset
