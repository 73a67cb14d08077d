"""What a source of pairs gives; each module in this folder, and each one outside named `file.py:Class`, inherits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, wraps
from pathlib import Path
from reprlib import repr as short
from types import NoneType
from typing import TYPE_CHECKING

from distill.files.rows import files_below
from distill.plugins import faulty, is_own, shown

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings

Passage = tuple[str, str, str]  # place (file and line), id, text
Query = tuple[str, str, str, str | None]  # place, id, text, instruction
Label = tuple[str, str, str, float | None]  # place, query, passage, grade; None: listed, not judged
Types = type | tuple[type, ...]
# What each method yields, for messages, and the types that are checked in a source of one's own.
YIELDS: dict[str, tuple[str, tuple[Types, ...]]] = {
    "passages": ("(place, passage id, text)", (str, str, str)),
    "queries": ("(place, query id, text, instruction or None)", (str, str, str, (str, NoneType))),
    "labels": ("(place, query id, passage id, grade or None)", (str, str, str, (int, float, NoneType))),
    "negatives": ("(query id, passage id)", (str, str)),
}


class Source(ABC):
    """One place that pairs come from. Every method streams, and may be called again.

    One id may come again with the same text, one pair with the same grade; whoever gathers them refuses the rest.
    """

    labelled: bool = True
    """A source without any label is an error."""

    divided: bool = False
    """Another split has other labels; else whatever the split is called, it is all that there is."""

    holds: tuple[str, str] = ("the queries", "the passages")
    """What an error calls the places of the queries and of the passages."""

    cut_words: int | None = None
    """Whoever gathers the passages cuts longer ones; `open_source` sets it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for method in YIELDS.keys() & vars(cls).keys() if is_own(cls) else ():
            setattr(cls, method, _checked(method, vars(cls)[method]))

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)  # what an error begins with

    @cached_property
    def counts(self) -> Counter[str]:
        """{what is worth saying of the labels that were read: how many pairs}."""
        return Counter()

    @cached_property
    def by_split(self) -> Counter[str]:
        """{split: rows of labels}, where one column says it; set while labels are read."""
        return Counter()

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        """The source at `folder`, the path of the settings; paths in `settings.files` are relative to `base`.

        Raises ConfigError for settings that do not fit, DataError where nothing is there.
        """
        return cls(folder)

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """`pairs.files` by which this source reads `path`, {} where it needs none; None of what is not this source's.

        By names and the first row, for `distill init` (`distill.pairs.detect`).
        """
        return None

    def splits(self) -> list[str]:
        """The splits that the data come in, for `distill init`; [] where they are one piece."""
        return []

    def check_split(self, split: str) -> None:
        """Raise ConfigError for a split that the configuration names where the files have none; here any is taken."""
        return

    def files(self) -> list[Path]:
        """The local files that are read, by whose hashes a change is noticed; of a folder all (`files_below`)."""
        return files_below(self.path)

    @abstractmethod
    def passages(self) -> Iterator[Passage]:
        """Every passage, title and text joined by `distill.texts.passage_text`."""

    @abstractmethod
    def queries(self) -> Iterator[Query]:
        """Every query, whatever its split."""

    @abstractmethod
    def labels(self, split: str | None) -> Iterator[Label]:
        """What was judged, of one split; None: of the only one. Raises DataError that names the splits there are."""

    def negatives(self, split: str | None) -> Iterator[tuple[str, str]]:
        """(query, passage) of hard negatives that the source lists without having judged them, best first."""
        return iter(())


def _checked(method: str, rows_of: Callable[..., object]) -> Callable[..., Iterator[object]]:
    """The method, with each row that it yields looked at: PluginError for one of another form."""
    form, types = YIELDS[method]

    @wraps(rows_of)
    def checked(self: Source, *split: str | None) -> Iterator[object]:
        rows = rows_of(self, *split)
        if not isinstance(rows, Iterable):
            raise faulty(self, method, f"`{method}` returned {shown(rows)}", f"yield {form}, once for each")
        for row in rows:
            if not isinstance(row, tuple) or len(row) != len(types) or not all(map(isinstance, row, types)):
                raise faulty(self, method, f"`{method}` yielded {short(row)}", f"yield {form}; ids and texts are str")
            yield row

    return checked
