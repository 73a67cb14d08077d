"""The pairs of a run by their id, on disk. Called by `distill.pairs.builder` and `build`."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, ValuesView
from dataclasses import fields
from operator import attrgetter

from distill.disk_map import DiskMap
from distill.records import Pair

_values = attrgetter(*(field.name for field in fields(Pair)))


class PairMap(DiskMap[Pair]):
    """{pair id: pair} in the order in which pairs were made."""

    def pack(self, value: Pair) -> bytes:
        """The pair's fields."""
        return marshal.dumps(_values(value))

    def unpack(self, data: bytes) -> Pair:
        """The pair of its fields."""
        return Pair(*marshal.loads(data))


class Pairs(ValuesView[Pair]):
    """A run's pairs in the order of their ids, read from disk as often as they are iterated."""

    _mapping: PairMap

    def __iter__(self) -> Iterator[Pair]:
        return (pair for _, pair in self._mapping.sorted_items())
