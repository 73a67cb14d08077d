"""A dataset of the Hugging Face hub, or a local folder of one, as the rows of `distill.pairs.sources.table`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.files.rows import ENDINGS, Row, is_junk, rows
from distill.files.text import ending
from distill.pairs.sources.base import Source, no_such_split
from distill.pairs.sources.table import Table

if TYPE_CHECKING:
    from datasets import Dataset

    from distill.pairs.settings import DataSettings


class HuggingFace(Table):
    """`files` names the dataset's configurations for corpus, queries and qrels; its splits are the dataset's own.

    Raises DataError where `datasets` cannot load it, or it has no such split.
    """

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        name = str(folder) if folder.exists() else settings.path
        split = settings.split if isinstance(settings.split, str) else settings.qrels
        configs = settings.files or {"pairs": ""}
        tables = {
            table: _Hub(name, config or None, split, strict=table in ("pairs", "qrels"))
            for table, config in configs.items()
        }
        paths = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
        paths = [path for path in paths if not is_junk(path.relative_to(folder))]
        return cls(name, tables, settings, paths)


class _Hub:
    """One configuration of a dataset. Of corpus and queries all splits are read where none has the name asked for."""

    def __init__(self, name: str, config: str | None, split: str | None, strict: bool) -> None:
        self._name, self._config, self._split, self._strict = name, config, split, strict

    @cached_property
    def _parts(self) -> Mapping[str, Dataset | list[Path]]:
        from datasets import Dataset, load_from_disk

        local = Path(self._name)
        saved = (local / "state.json").exists() or (local / "dataset_dict.json").exists()
        try:
            loaded = load_from_disk(self._name) if saved else _loaded(self._name, self._config)
        except Exception as error:  # whatever datasets, the hub, the network or a file of the folder raise
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"{self._name}: datasets cannot load it ({type(error).__name__}: {reason})") from None
        return {"": loaded} if isinstance(loaded, Dataset) else loaded

    def splits(self) -> Sequence[str]:
        return [name for name in self._parts if name]

    def names(self) -> list[str]:
        return []

    def rows(self, split: str | None = None) -> Iterator[tuple[str, Row]]:
        wanted = [name for name in (split or self._split,) if name and name in self._parts] or list(self._parts)
        one_column = len(wanted) == 1 and "split" in next(self._rows_of(wanted[0]), ("", {}))[1]
        if self._strict and self._split and self._split not in self._parts and self.splits() and not one_column:
            raise DataError(no_such_split(self._name, self._split, list(self.splits())))
        for part in wanted:
            yield from self._rows_of(part)

    def _rows_of(self, part: str) -> Iterator[tuple[str, Row]]:
        data = self._parts[part]
        if isinstance(data, list):
            yield from chain.from_iterable(map(rows, data))
            return
        classes = _classes(data)
        for number, row in enumerate(data, 1):
            for column, names in classes.items():
                row[column] = names[row[column]] if row[column] in range(len(names)) else None
            yield f"{self._name}{f' ({part})' if part else ''}: row {number}", row


def _loaded(name: str, config: str | None) -> Dataset | Mapping[str, Dataset | list[Path]]:
    """What `datasets.load_dataset` gives; local files of CSV and JSON are left to be read as every other table is.

    Words such as NA and None in CSV of the hub are words.
    """
    from datasets import load_dataset_builder

    builder = load_dataset_builder(name, config)
    if builder.name in ("csv", "json") and builder.info.features is None:
        files = {str(split): list(map(Path, paths)) for split, paths in (builder.config.data_files or {}).items()}
        if files and all(path.is_file() and ending(path) in ENDINGS for paths in files.values() for path in paths):
            return files
    if builder.name == "csv":
        builder = load_dataset_builder(name, config, keep_default_na=False, na_values=[""])
    builder.download_and_prepare()
    loaded: Dataset | Mapping[str, Dataset] = builder.as_dataset()
    return loaded


def _classes(part: Dataset) -> dict[str, list[str]]:
    """{column: names} of classes, which a dataset numbers in any order: 0 may be called `relevant`."""
    from datasets import ClassLabel

    return {name: feature.names for name, feature in part.features.items() if isinstance(feature, ClassLabel)}
