"""Rows with named columns: JSONL, CSV, TSV or Parquet files, or a Hugging Face dataset.

Either one table of pairs (query, passage and, where somebody judged them, label), or three tables named in `files`:
`corpus`, `queries` and `qrels`. Ids that there are no columns for are made from the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.errors import ConfigError, DataError
from distill.pairs.sources.base import Label, Passage, Query, grade, keys, rows
from distill.records import digest
from distill.texts import clean_text, passage_text

Rows = Callable[[], Iterator[tuple[str, dict[str, Any]]]]
# What a column is called where `columns` does not say; the first that there is.
USUAL: dict[str, tuple[str, ...]] = {
    "query": ("query", "question", "query_text"),
    "passage": ("passage", "document", "doc", "text", "contents", "body"),
    "title": ("title",),
    "label": ("label", "score", "relevance", "rel", "grade"),
    "query_id": ("query_id", "query-id", "qid"),
    "doc_id": ("doc_id", "corpus-id", "docid", "passage_id", "pid"),
    "instruction": ("instruction",),
    "split": ("split",),
}
ALONE = ("_id", "id")  # the id's usual names in a table that holds queries, or passages, alone


class Table:
    """`tables` maps `pairs`, or `corpus`, `queries` and `qrels`, to functions that stream the rows."""

    repeats = True
    labelled = False

    def __init__(
        self,
        name: str,
        tables: Mapping[str, Rows],
        columns: Mapping[str, str],
        paths: list[Path],
        own_splits: bool = False,
    ) -> None:
        unknown = set(columns) - set(USUAL)
        if unknown:
            raise ConfigError(f"pairs.columns.{sorted(unknown)[0]}: not one of {', '.join(USUAL)}")
        if "pairs" not in tables and not {"corpus", "queries"} <= set(tables):
            raise ConfigError("pairs.files: names corpus, queries and qrels, or is left out for one table of pairs")
        self.name, self._tables, self._columns, self._paths = name, tables, columns, paths
        self._own_splits = own_splits
        self.holds = ("the queries", "the corpus")

    @property
    def divided(self) -> bool:
        """Whether there is a column of splits; a Hugging Face dataset has its own."""
        if self._own_splits:
            return True
        _, row = next(self._rows("qrels"), ("", {}))
        return self._value(row, "split") is not None

    def files(self) -> list[Path]:
        """The tables' files."""
        return self._paths

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        for where, row in self._rows("corpus"):
            text = self._needed(row, "passage", where)
            passage = passage_text(self._value(row, "title"), text)
            yield where, self._id(row, "doc_id", passage), passage

    def queries(self) -> Iterator[Query]:
        """With the instruction, where there is a column."""
        for where, row in self._rows("queries"):
            alone = None if "pairs" in self._tables or "query" in self._columns else row.get("text")
            text = clean_text(alone if isinstance(alone, str) else self._needed(row, "query", where))
            instruction = self._value(row, "instruction")
            yield where, self._id(row, "query_id", text, instruction), text, instruction

    def labels(self, split: str | None) -> Iterator[Label]:
        """Of the rows of this split, where there is a column of splits; grade None in a table without labels."""
        if "pairs" not in self._tables and "qrels" not in self._tables:
            return
        for where, row in self._rows("qrels"):
            there = self._value(row, "split")
            if split is not None and there is not None and there != split:
                continue
            said = self._value(row, "label")
            if "pairs" in self._tables:
                text = clean_text(self._needed(row, "query", where))
                passage = passage_text(self._value(row, "title"), self._needed(row, "passage", where))
                query_id = self._id(row, "query_id", text, self._value(row, "instruction"))
                doc_id = self._id(row, "doc_id", passage)
            else:
                query_id, doc_id = self._needed(row, "query_id", where), self._needed(row, "doc_id", where)
            yield where, query_id, doc_id, None if said in (None, "") else grade(said, where)

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """None."""
        return iter(())

    def _rows(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        return self._tables["pairs" if "pairs" in self._tables else name]()

    def _value(self, row: Mapping[str, Any], what: str) -> Any:
        if what in self._columns:
            if self._columns[what] not in row:
                raise DataError(f"{self.name}: no column {self._columns[what]!r} (columns.{what}); it has {keys(row)}")
            return row[self._columns[what]]
        return next((row[name] for name in USUAL[what] if name in row), None)

    def _needed(self, row: Mapping[str, Any], what: str, where: str) -> str:
        value = self._value(row, what)
        if value is None or isinstance(value, list | dict):
            raise DataError(f"{where}: no text in a column for {what}; name it in columns.{what}. It has {keys(row)}")
        return str(value)

    def _id(self, row: Mapping[str, Any], what: str, *texts: str | None) -> str:
        value = self._value(row, what)
        if value is None and "pairs" not in self._tables:
            value = next((row[name] for name in ALONE if name in row), None)
        return str(value) if value is not None else digest(*texts)[:16]


def of_files(base: Path, path: str, files: Mapping[str, str], columns: Mapping[str, str]) -> Table:
    """A table, or three, of JSONL, CSV, TSV or Parquet files; a folder stands for the tables in it, by name."""
    named = {name: base / value for name, value in files.items()} if files else {"pairs": base / path}
    tables: dict[str, Rows] = {}
    paths: list[Path] = []
    for name, place in named.items():
        found = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
        paths += found
        tables[name] = lambda found=found: (row for each in found for row in rows(each))  # type: ignore[misc]
    return Table(str(base / path) if path else str(next(iter(named.values()))), tables, columns, paths)


def of_hugging_face(base: Path, path: str, files: Mapping[str, str], columns: Mapping[str, str], split: str) -> Table:
    """A dataset of the hub, or a local folder of one; `files` names its configurations for corpus, queries and qrels.

    Raises DataError where `datasets` cannot load it.
    """
    local = base / path
    name = str(local) if local.exists() else path

    def table(config: str | None) -> Rows:
        def stream() -> Iterator[tuple[str, dict[str, Any]]]:
            from datasets import load_dataset, load_from_disk

            try:
                saved = local.is_dir() and ((local / "state.json").exists() or (local / "dataset_dict.json").exists())
                whole = load_from_disk(name) if saved else load_dataset(name, config)
            except Exception as error:
                raise DataError(f"{name}: datasets cannot load it ({type(error).__name__}: {error})") from None
            parts = whole if hasattr(whole, "keys") else {"train": whole}
            wanted = [split] if split in parts else list(parts)
            for part in wanted:
                for number, row in enumerate(parts[part], 1):
                    yield f"{name} ({part}): row {number}", row

        return stream

    tables = {key: table(value) for key, value in files.items()} if files else {"pairs": table(None)}
    paths = sorted(p for p in local.rglob("*") if p.is_file()) if local.is_dir() else []
    return Table(name, tables, columns, paths, own_splits=True)
