"""Tevatron's training layout, in which MS MARCO with mined hard negatives is published: one JSON object a query.

`{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [...]}`, JSONL, gzipped
or not, or a folder of such files. Positives are judged; the negatives were mined by whoever made the file, so they are
`listed`, not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.files.rows import Row, first_rows, json_rows, table_files
from distill.files.splits import as_one, check_names, no_such_split, split_files
from distill.files.values import id_of, keys, text_of
from distill.pairs.sources.base import Label, Passage, Query, Source
from distill.records import digest
from distill.texts import passage_text

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings

_NEEDED = ("query_id", "query", "positive_passages", "negative_passages")


class Tevatron(Source):
    """The file, or the folder of files; its splits are those that the files' names have (train.jsonl).

    Where `ids` is `text`, passages and queries are known by their texts, for files whose ids count anew in each row.
    """

    holds = ("the file", "the file")

    def __init__(self, path: Path, ids: str = "given") -> None:
        super().__init__(path)
        self._by_text = ids == "text"

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        return cls(folder, settings.ids)

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """JSON lines whose first row has the layout's keys."""
        first = next(first_rows(path, (".jsonl", ".ndjson", ".json")), None)
        return {} if first is not None and all(key in first for key in _NEEDED) else None

    def splits(self) -> list[str]:
        """Those that the files' names have."""
        return list(split_files(self.files()))

    @property
    def divided(self) -> bool:  # type: ignore[override]
        """Whether the files' names have splits."""
        return bool(split_files(self.files()))

    def check_split(self, split: str) -> None:
        """Of files without splits, by their names."""
        if not self.divided:
            check_names(split, [path.name for path in self.files()], "let the files' names have their split")

    def files(self) -> list[Path]:
        """Those of the folder, or the one."""
        return table_files(self.path) if self.path.is_dir() else [self.path]

    def passages(self) -> Iterator[Passage]:
        """Positives and negatives of every query; one that is in several lists is one passage."""
        for where, row in self._rows(self.files()):
            for kind in ("positive_passages", "negative_passages"):
                for key, text in self._passages(where, row, kind):
                    yield where, key, text

    def queries(self) -> Iterator[Query]:
        """With the key `instruction`, where there is one."""
        for where, row in self._rows(self.files()):
            instruction = text_of(row.get("instruction"), where, "instruction") or None
            yield where, self._query_id(where, row), text_of(row["query"], where, "query"), instruction

    def labels(self, split: str | None) -> Iterator[Label]:
        """The positives, grade 1."""
        if not self.divided:
            self.counts.update(as_one([path.name for path in self.files()]))
        for where, row in self._rows(self._of_split(split)):
            for key, _ in self._passages(where, row, "positive_passages"):
                yield where, self._query_id(where, row), key, 1

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """The lists, in their order."""
        for where, row in self._rows(self._of_split(split)):
            for key, _ in self._passages(where, row, "negative_passages"):
                yield self._query_id(where, row), key

    def _of_split(self, split: str | None) -> list[Path]:
        parts = split_files(self.files())
        if not parts:
            return self.files()
        if split is None and len(parts) == 1:
            return next(iter(parts.values()))
        if split not in parts:
            raise DataError(no_such_split(self.name, split, list(parts)))
        return parts[split]

    def _rows(self, paths: list[Path]) -> Iterator[tuple[str, Row]]:
        for path in paths:
            for where, row in json_rows(path):
                if not all(key in row for key in _NEEDED):
                    raise DataError(f"{where}: a line has {', '.join(_NEEDED)}; this has {keys(row)}")
                yield where, row

    def _query_id(self, where: str, row: Row) -> str:
        if self._by_text:
            instruction = text_of(row.get("instruction"), where, "instruction") or None
            return digest(text_of(row["query"], where, "query"), instruction)[:16]
        return _id(row["query_id"], where, "query_id")

    def _passages(self, where: str, row: Row, kind: str) -> Iterator[tuple[str, str]]:
        """(id, text) of one list of a row."""
        passages = [] if row[kind] is None and kind == "negative_passages" else row[kind]
        if not isinstance(passages, list):
            raise DataError(f"{where}: {kind} is a list of passages; this is {keys(passages)}")
        for passage in passages:
            if not isinstance(passage, dict) or "docid" not in passage or "text" not in passage:
                raise DataError(f"{where}: a passage has docid and text; this has {keys(passage)}")
            text = passage_text(text_of(passage.get("title"), where, "title"), text_of(passage["text"], where))
            yield digest(text)[:16] if self._by_text else _id(passage["docid"], where, "docid"), text


def _id(value: object, where: str, name: str) -> str:
    key = id_of(value, where)
    if key is None:
        raise DataError(f"{where}: an empty {name}; give each one an id, or set pairs.ids: text")
    return key
