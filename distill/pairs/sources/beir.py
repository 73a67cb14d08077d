"""A BEIR folder: corpus.jsonl, queries.jsonl, qrels/*.tsv, each gzipped or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError
from distill.pairs.sources.base import Label, Passage, Query, grade, keys, lines, rows
from distill.texts import clean_text, passage_text


class Beir:
    """The folder; a split is the name of a qrels file."""

    repeats = False
    labelled = True
    divided = True
    holds = ("queries.jsonl", "corpus.jsonl")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder / "qrels")

    def files(self) -> list[Path]:
        """Corpus, queries and every qrels file."""
        found = [*sorted(self.folder.glob("corpus.jsonl*")), *sorted(self.folder.glob("queries.jsonl*"))]
        return found + qrels_files(self.folder)

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        yield from _texts(_file(self.folder, "corpus.jsonl"), titled=True)

    def queries(self) -> Iterator[Query]:
        """With the column `instruction`, where there is one."""
        path = _file(self.folder, "queries.jsonl")
        for where, row in rows(path):
            text = _text(where, row)
            yield where, str(row["_id"]), clean_text(text), row.get("instruction") or None

    def labels(self, split: str | None) -> Iterator[Label]:
        """One file's lines."""
        path = _qrels_path(self.folder, split)
        empty = True
        for label in qrels_lines(path):
            empty = False
            yield label
        if empty:
            raise DataError(f"{path}: is empty; it needs lines of query-id, corpus-id, score")

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """None."""
        return iter(())


def qrels_files(folder: Path) -> list[Path]:
    """The qrels files of a folder, by name."""
    return sorted(p for p in (folder / "qrels").glob("*.tsv*") if p.name.endswith((".tsv", ".tsv.gz")))


def qrels_lines(path: Path) -> Iterator[Label]:
    """The labels of a BEIR or TREC qrels file. Raises DataError with the line."""
    for number, line in lines(path):
        values = line.split("\t") if "\t" in line else line.split()
        if len(values) == 4:  # TREC: query, iteration, passage, grade
            values = [values[0], values[2], values[3]]
        if number == 1 and len(values) == 3 and values[2].strip() in ("score", "label", "rel"):
            continue
        if len(values) != 3:
            raise DataError(f"{path}:{number}: {len(values)} columns; a line is query-id, corpus-id, score, by tabs")
        query_id, doc_id, said = (value.strip() for value in values)
        yield f"{path}:{number}", query_id, doc_id, grade(said, f"{path}:{number}")


def _qrels_path(folder: Path, name: str | None) -> Path:
    """The file of that name; with None the only one."""
    files = qrels_files(folder)
    names = [p.name.removesuffix(".gz").removesuffix(".tsv") for p in files]
    if not files:
        raise DataError(f"{folder / 'qrels'}: no .tsv file of labels; BEIR has qrels/test.tsv and the like")
    if name is None:
        if len(files) > 1:
            raise DataError(f"{folder / 'qrels'}: holds {', '.join(names)}; say which one is split in pairs.qrels")
        return files[0]
    if name not in names:
        raise DataError(f"{folder / 'qrels' / name}.tsv: no such file; there are {', '.join(names)}, or give shares")
    return files[names.index(name)]


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(f"{folder / name}: no such file; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/")


def _texts(path: Path, titled: bool) -> Iterator[Passage]:
    empty = True
    for where, row in rows(path):
        empty = False
        text = _text(where, row)
        yield where, str(row["_id"]), passage_text(row.get("title") if titled else None, text)
    if empty:
        raise DataError(f'{path}: is empty; it needs lines such as {{"_id": "1", "text": "..."}}')


def _text(where: str, row: dict[str, object]) -> str:
    text = row.get("text")
    if "_id" not in row or not isinstance(text, str):
        raise DataError(f"{where}: a line is an object with _id and text; this has {keys(row)}")
    return text
