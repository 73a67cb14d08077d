"""Passages by id, with their texts in a temporary file: a collection of millions is read once and never held."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping

from distill.errors import DataError
from distill.text_file import TextFile


class RepeatedId(DataError):
    """One id with two texts; `id` is the id."""

    id: str = ""


class Passages(Mapping[str, str]):
    """{id: text}. Held in memory are the ids and 8 bytes a passage (16 while they are read).

    The texts lie in an unnamed file in the system's temporary folder (`TMPDIR`), which goes with the object.
    """

    def __init__(self, rows: Iterable[tuple[str, str, str]]) -> None:
        """`rows` are (place, id, text); one id may come again with the same text.

        Raises RepeatedId, naming the row's place, for an id that comes with another text.
        """
        self._places: dict[str, int] = {}
        self._texts = TextFile()
        hashes = array("q")
        for where, key, text in rows:
            place = self._places.setdefault(key, len(self._places))
            if place < len(hashes):
                if hashes[place] != hash(text):
                    error = RepeatedId(f"{where}: the id {key!r} is there twice, with another text")
                    error.id = key
                    raise error
                continue
            hashes.append(hash(text))
            self._texts.append(text)
        self._texts.flush()

    def __getitem__(self, key: str) -> str:
        return self._texts[self._places[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
