"""Reasons in groups that a person can survey."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FEW_REASONS, MOST_REASONS = 4, 500  # different ones of a filter
OTHER = "other reasons"
_NUMBER = re.compile(r"\d[\d.,]*")


def filters_and_reasons(table: pa.Table) -> list[tuple[str, str]]:
    """(filter, reason) of each row of a table of rejected traces."""
    return list(zip(table["filter"].to_pylist(), table["reason"].to_pylist(), strict=True))


class ReasonCounts:
    """How many rows have which reason, by filter, in memory that does not grow with the rows.

    Of a filter with more than four different reasons every number is written N. Past 500 different ones the further
    ones are counted as other reasons.
    """

    def __init__(self) -> None:
        self._by_filter: dict[str, Counter[str]] = {}
        self._many: set[str] = set()

    def add(self, name: str, reason: str, rows: int = 1) -> None:
        """Count `rows` rows of a filter with this reason."""
        counts = self._by_filter.setdefault(name, Counter())
        counts[self.group(name, reason, MOST_REASONS)] += rows
        if name not in self._many and len(counts) > FEW_REASONS:
            self._many.add(name)
            self._by_filter[name] = Counter()
            for text, known in counts.items():
                self.add(name, text, known)

    def group(self, name: str, reason: str, room: int = 0) -> str:
        """The reason under which such a row is counted; a new one while fewer than `room` are known."""
        text = _NUMBER.sub("N", reason) if name in self._many else reason
        known = self._by_filter.get(name, Counter())
        return text if text in known or len(known) < room else OTHER

    def counts(self) -> dict[tuple[str, str], int]:
        """{(filter, reason): rows}."""
        return {(name, text): rows for name, counts in self._by_filter.items() for text, rows in counts.items()}


def grouped(rejected: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same (filter, reason) pairs with the reasons in the groups of `ReasonCounts`."""
    groups = ReasonCounts()
    for (name, reason), rows in Counter(rejected).items():
        groups.add(name, reason, rows)
    return [(name, groups.group(name, reason)) for name, reason in rejected]
