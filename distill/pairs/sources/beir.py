"""A BEIR folder: corpus.jsonl, queries.jsonl, qrels/*.tsv, each gzipped or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.errors import DataError
from distill.files.qrels import qrels_rows
from distill.files.roles import roles_of
from distill.files.rows import Row, is_junk, rows
from distill.files.splits import no_such_split
from distill.files.values import id_of, keys, raw_text, text_of
from distill.pairs.sources.base import Label, Passage, Query, Source
from distill.texts import clean_text, passage_text


class Beir(Source):
    """The folder; a split is the name of a qrels file."""

    divided = True
    holds = ("queries.jsonl", "corpus.jsonl")

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """A folder with corpus.jsonl, gzipped or not, and qrels/. Raises DataError where it has no judgements."""
        if not any((path / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
            return None
        if (path / "qrels").is_dir():
            return {}
        if "qrels" in roles_of(path):
            return None
        raise DataError(f"{path}: has corpus.jsonl and no judgements; a BEIR folder has them as qrels/train.tsv, "
                        "qrels/test.tsv (a line: query-id, corpus-id, score)")  # fmt: skip

    def splits(self) -> list[str]:
        """The names of the qrels files."""
        return list(self._qrels())

    def files(self) -> list[Path]:
        """Corpus, queries and every qrels file."""
        texts = [path for name in ("corpus", "queries") for path in sorted(self.path.glob(f"{name}.jsonl*"))]
        return [*texts, *self._qrels().values()]

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        empty, path = True, self._file("corpus.jsonl")
        for where, row in rows(path):
            empty = False
            key, text = _id_and_text(where, row)
            yield where, key, passage_text(raw_text(row.get("title"), where, "title"), text)
        if empty:
            raise DataError(f'{path}: is empty; it needs lines such as {{"_id": "1", "text": "..."}}')

    def queries(self) -> Iterator[Query]:
        """With the column `instruction`, where there is one."""
        for where, row in rows(self._file("queries.jsonl")):
            key, text = _id_and_text(where, row)
            yield where, key, clean_text(text), text_of(row.get("instruction"), where, "instruction") or None

    def labels(self, split: str | None) -> Iterator[Label]:
        """One file's lines."""
        files, folder = self._qrels(), self.path / "qrels"
        if not files:
            raise DataError(f"{folder}: no .tsv file of labels; BEIR has qrels/test.tsv and the like")
        if split is None and len(files) == 1:
            split = next(iter(files))
        if split not in files:
            raise DataError(no_such_split(str(folder), split, list(files)))
        empty = True
        for label in qrels_rows(files[split]):
            empty = False
            yield label
        if empty:
            raise DataError(f"{files[split]}: is empty; it needs lines of query-id, corpus-id, score")

    def _qrels(self) -> dict[str, Path]:
        """The qrels files by their splits' names."""
        files: dict[str, Path] = {}
        for path in sorted((self.path / "qrels").glob("*.tsv*")):
            if path.name.endswith((".tsv", ".tsv.gz")) and not is_junk(Path(path.name)):
                first = files.setdefault(path.name.removesuffix(".gz").removesuffix(".tsv"), path)
                if first is not path:
                    raise DataError(f"{path}: {first.name} is there as well; keep one of them")
        return files

    def _file(self, name: str) -> Path:
        there = [path for path in (self.path / name, self.path / f"{name}.gz") if path.exists()]
        if len(there) > 1:
            raise DataError(f"{there[1]}: {name} is there as well; keep one of them")
        if there:
            return there[0]
        raise DataError(f"{self.path / name}: no such file; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/")


def _id_and_text(where: str, row: Row) -> tuple[str, str]:
    key = id_of(row.get("_id"), where)
    if key is None or "text" not in row or (isinstance(row["text"], int | float) and row["text"] == row["text"]):
        raise DataError(f"{where}: a line is an object with _id and text; this has {keys(row)}")
    return key, raw_text(row["text"], where)
