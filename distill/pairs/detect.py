"""What lies at a path: which source reads it, its splits, how much is labelled, three rows. Called by `distill init`.

It holds no rule of its own about formats: each source recognises its own files (`Source.recognise`), and what is shown
was read by that source as a run reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from distill.errors import DataError
from distill.pairs.settings import DataSettings
from distill.pairs.sources import SOURCES
from distill.pairs.sources.base import Source
from distill.pairs.sources.table import Table

ORDER = ("beir", "huggingface", "trec", "tevatron", "table", "texts")  # the first that recognises a path reads it
ROWS = 3
_Label = tuple[str, str, float | None]


@dataclass(frozen=True, slots=True)
class DataRow:
    """A pair as the source reads it; `grade` is None where nobody judged it, `query` "" in a folder of texts."""

    query: str
    passage: str
    grade: float | None


@dataclass(frozen=True, slots=True)
class DataFound:
    """What was found: the source and its settings, and counts of the split that is trained on.

    `train` is that split, None where the data are one piece; `labels` counts rows with a grade, `negatives` those
    graded 0 or below, `listed` negatives that the source lists; `columns` are those that a table is read by.
    """

    source: str
    files: dict[str, str]
    splits: list[str]
    train: str | None
    queries: int
    pairs: int
    labels: int
    negatives: int
    listed: bool
    columns: dict[str, str]
    rows: list[DataRow]
    notes: dict[str, int] = field(default_factory=dict)


def recognised(path: Path) -> tuple[str, dict[str, str]]:
    """(the source that reads what lies there, its `files`). Raises DataError where none does."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    for name in ORDER:
        files = SOURCES.load(name).recognise(path)
        if files is not None:
            return name, files
    raise DataError(
        f"{path}: is no table (CSV, TSV, JSONL, Parquet), no folder of tables, of BEIR, TREC, Tevatron or Hugging Face "
        "files, and no folder of texts; docs/data.md describes what is read"
    )


def look(path: Path, columns: dict[str, str]) -> DataFound:
    """Read the labels once, and as many texts as three rows need. Raises what the source raises."""
    name, files = recognised(path)
    settings = DataSettings(source=name, path=str(path), files=files, columns=columns)
    source = SOURCES.load(name).open(settings, path, path)
    splits = source.splits()
    train = "train" if "train" in splits else splits[0] if splits else None
    if name == "texts":
        rows = [DataRow("", text, None) for _, _, text in islice(source.passages(), ROWS)]
        return DataFound(name, files, [], None, 0, 0, 0, 0, False, {}, rows)
    queries: set[str] = set()
    pairs = labels = negatives = 0
    first: list[_Label] = []
    of_grade: dict[float | None, _Label] = {}
    for _, query, passage, grade in source.labels(train):
        queries.add(query)
        pairs += 1
        labels += grade is not None
        negatives += grade is not None and grade <= 0
        if pairs <= ROWS:
            first.append((query, passage, grade))
        if len(of_grade) < ROWS:
            of_grade.setdefault(grade, (query, passage, grade))
    rows = _with_texts(source, list(dict.fromkeys([*of_grade.values(), *first]))[:ROWS])
    listed = next(iter(source.negatives(train)), None) is not None
    found = source.column_names() if isinstance(source, Table) else {}
    return DataFound(
        name, files, splits, train, len(queries), pairs, labels, negatives, listed, found, rows, dict(source.counts)
    )


def _with_texts(source: Source, rows: list[_Label]) -> list[DataRow]:
    queries = _texts(((key, text) for _, key, text, _ in source.queries()), {query for query, _, _ in rows})
    passages = _texts(((key, text) for _, key, text in source.passages()), {passage for _, passage, _ in rows})
    return [DataRow(queries.get(query, ""), passages.get(passage, ""), grade) for query, passage, grade in rows]


def _texts(texts: Iterable[tuple[str, str]], wanted: set[str]) -> dict[str, str]:
    """{id: text} of the wanted ids; reading stops at the last of them."""
    found: dict[str, str] = {}
    for key, text in texts:
        if key in wanted:
            found[key] = text
            if len(found) == len(wanted):
                break
    return found
