"""A dataset of the Hugging Face hub, or a local folder of one, as the rows of `distill.pairs.sources.table`.

`datasets` says which files of a local folder belong to which split (by their names, or by the card's `configs`); files
of text among them (CSV, TSV, JSON) are read by `distill.files.rows`, as everywhere else, since pandas, which `datasets`
reads them by, shifts columns, joins rows at a stray quote and turns the id 007 into 7. The hub's files it reads itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.files.rows import ENDINGS, Row, class_name, is_junk, rows
from distill.files.splits import no_such_split
from distill.files.text import ending
from distill.pairs.sources.base import Source
from distill.pairs.sources.table import Table

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder, Features

    from distill.pairs.settings import DataSettings


class HuggingFace(Table):
    """`files` names the dataset's configurations for corpus, queries and qrels; its splits are the dataset's own.

    Raises DataError where `datasets` cannot load it, or it has no such split.
    """

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """A folder that `save_to_disk` wrote, or that has a card with `configs`, or a folder `data`."""
        saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
        card = path / "README.md"
        named = card.is_file() and "\nconfigs:" in card.read_text("utf-8", "replace")
        return {} if saved or named or (path / "data").is_dir() else None

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
    def _parts(self) -> Mapping[str, _Part]:
        from datasets import load_dataset_builder, load_from_disk

        local = Path(self._name)
        saved = (local / "state.json").exists() or (local / "dataset_dict.json").exists()
        try:
            if saved:
                return _loaded(load_from_disk(self._name))
            builder = load_dataset_builder(self._name, self._config)
            if local.exists() and builder.name in ("csv", "json"):
                return _files_of_text(builder, local)
            if builder.name == "csv":  # of the hub; words such as NA and None are words
                builder = load_dataset_builder(self._name, self._config, keep_default_na=False, na_values=[""])
            builder.download_and_prepare()
            return _loaded(builder.as_dataset())
        except DataError:
            raise
        except Exception as error:  # whatever datasets, the hub, the network or a file of the folder raise
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"{self._name}: datasets cannot load it ({type(error).__name__}: {reason})") from None

    def splits(self) -> Sequence[str]:
        return [name for name in self._parts if name]

    def names(self) -> list[str]:
        return [path.name for part in self._parts.values() for path in part.files]

    def rows(self, split: str | None = None) -> Iterator[tuple[str, Row]]:
        wanted = [name for name in (split or self._split,) if name and name in self._parts] or list(self._parts)
        one_column = len(wanted) == 1 and self._parts[wanted[0]].has_splits
        if self._strict and self._split and self._split not in self._parts and self.splits() and not one_column:
            raise DataError(no_such_split(self._name, self._split, list(self.splits())))
        for part in wanted:
            classes = self._parts[part].classes
            for where, row in self._parts[part].rows(f"{self._name}{f' ({part})' if part else ''}"):
                for column, names in classes.items():
                    row[column] = class_name(row.get(column), names)
                yield where, row


class _Part:
    """One split: a `Dataset`, or files of text. `classes` are {column: names}: a dataset numbers them in any order, so
    that 0 may be called `relevant`.
    """

    def __init__(self, data: Dataset | list[Path], features: Features | None) -> None:
        from datasets import ClassLabel

        self._data = data
        self.files = data if isinstance(data, list) else []
        self.classes: dict[str, list[str]] = {
            name: feature.names for name, feature in (features or {}).items() if isinstance(feature, ClassLabel)
        }

    @property
    def has_splits(self) -> bool:
        """Whether there is a column `split`."""
        first = next(self.rows(""), None)
        return first is not None and "split" in first[1]

    def rows(self, name: str) -> Iterator[tuple[str, Row]]:
        """(place, row); a dataset's place is its name and the row's number."""
        if isinstance(self._data, list):
            for path in self._data:
                yield from rows(path)
        else:
            for number, row in enumerate(self._data, 1):
                yield f"{name}: row {number}", row


def _loaded(data: Dataset | Mapping[str, Dataset]) -> Mapping[str, _Part]:
    from datasets import Dataset

    parts = {"": data} if isinstance(data, Dataset) else data
    return {name: _Part(part, part.features) for name, part in parts.items()}


_ANY_VALUE = ("name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter")


def _files_of_text(builder: DatasetBuilder, folder: Path) -> Mapping[str, _Part]:
    """The files of each split. Raises DataError for settings of the card that only pandas knows, and for a table that
    `datasets` passes over in silence, because most are of another format or have a split in their names.
    """
    settings, card = builder.config, folder / "README.md"
    usual = type(settings)()
    odd = [f.name for f in fields(settings) if getattr(settings, f.name) != getattr(usual, f.name)]
    odd = [name for name in odd if name not in _ANY_VALUE]
    if odd:
        raise DataError(f"{card}: the setting {odd[0]} is not read; write files with a header, in UTF-8")
    parts = {str(split): [Path(file) for file in files] for split, files in settings.data_files.items()}
    if not card.is_file() or not re.search(r"^configs:", card.read_text("utf-8", "replace"), re.M):
        read = {path.resolve() for paths in parts.values() for path in paths}
        for path in sorted(path for path in folder.rglob("*") if not is_junk(path.relative_to(folder))):
            if ending(path) in set(ENDINGS) - {".json"} and path.is_file() and path.resolve() not in read:
                raise DataError(
                    f"{path}: would not be read, since others next to it are of another format or named by splits; "
                    "take it out, or give all one format and names by splits"
                )
    return {split: _Part(paths, builder.info.features) for split, paths in parts.items()}
