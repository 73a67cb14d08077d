"""TREC's files: a corpus, topics and qrels, each a file of its own in any of the usual forms, gzipped or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import ConfigError, DataError
from distill.files.documents import passages_of
from distill.files.qrels import qrels_rows
from distill.files.roles import are_tables, check_whole, only_one, qrels_files, roles_of
from distill.files.splits import check_names, similar_split
from distill.files.topics import queries_of
from distill.inputs import input_path
from distill.pairs.sources.base import Label, Passage, Query, Source

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings


class Trec(Source):
    """`files` has `corpus`, `queries` and `qrels`, or a `qrels.SPLIT` for each split."""

    def __init__(self, base: Path, files: Mapping[str, str]) -> None:
        for need in ("corpus", "queries"):
            if need not in files:
                raise ConfigError(
                    f"pairs.files: source trec needs {need}, and qrels, or qrels.SPLIT where there are several"
                )
        self._files = {key: input_path(base, value) for key, value in files.items()}
        super().__init__(self._files.get("qrels", base))
        self.holds = (self._files["queries"].name, self._files["corpus"].name)

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        return cls(folder if settings.path and folder.is_dir() else base, settings.files)

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """A folder with files called corpus, queries (or topics) and qrels that are not tables with named columns.

        Raises DataError where only some of them are there, or several where one is read.
        """
        roles = roles_of(path)
        check_whole(path, roles)
        if not {"corpus", "queries", "qrels"} <= set(roles) or are_tables(roles):
            return None
        only_one(path, roles, "corpus", "queries")
        files = {"corpus": roles["corpus"][0], "queries": roles["queries"][0]}
        files |= {f"qrels.{split}".rstrip("."): file for split, file in qrels_files(roles["qrels"]).items()}
        return {role: file.relative_to(path).as_posix() for role, file in files.items()}

    def splits(self) -> list[str]:
        """Those that the qrels are named by."""
        return [key.removeprefix("qrels.") for key in self._files if key.startswith("qrels.")]

    @property
    def divided(self) -> bool:  # type: ignore[override]
        """Whether the qrels are named by split."""
        return any(key.startswith("qrels.") for key in self._files)

    def check_split(self, split: str) -> None:
        """Of one file of qrels without a split, by its name."""
        if "qrels" in self._files and not self.divided:
            check_names(split, [self._files["qrels"].name], f"name the file qrels.{split}")

    def files(self) -> list[Path]:
        """All that are named."""
        return sorted(self._files.values())

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        for row in passages_of(self._files["corpus"]):
            yield row.where, row.id, row.text

    def queries(self) -> Iterator[Query]:
        """With the narrative, where topics have one, or a TSV's third column as the instruction, which is counted."""
        instructed = 0
        for row in queries_of(self._files["queries"]):
            instructed += row.instruction is not None
            yield row.where, row.id, row.text, row.instruction
        if instructed:
            self.counts["queries whose narrative, or third column, was read as the instruction"] = instructed

    def labels(self, split: str | None) -> Iterator[Label]:
        """Of `qrels.SPLIT`; of `qrels` where that is the only one."""
        there = [key for key in self._files if key == "qrels" or key.startswith("qrels.")]
        if len(there) == 1 and (there == ["qrels"] or split is None):
            return qrels_rows(self._files[there[0]])
        if split is None and there:
            raise DataError(f"pairs.files: has {', '.join(there)}; say which one is split in pairs.qrels")
        if f"qrels.{split}" not in there:
            near = similar_split(split, [key.removeprefix("qrels.") for key in there])
            raise ConfigError(f"pairs.files: no qrels.{split}; there is {', '.join(there) or 'no qrels at all'}{near}")
        return qrels_rows(self._files[f"qrels.{split}"])
