"""What a column of numbers is in truth where nothing calls it labels: ranks, a run's scores, or ids, and no grades.

Called by the readers of qrels, and by tables for a column `score`, which BEIR's labels and a run's scores share.
"""

from __future__ import annotations

NO_JUDGEMENTS = "looks like a run's, not judgements"
SEVERAL = 11  # so many grades, as from 0 to 10, are a scale; with more there are ids or scores
_SCALE = 5  # up to here whole grades may differ in most rows; further ones that do, and are never 0, are none
_FROM_0 = 5  # ranks that count from 0 are known by lists of so many


class Numbers:
    """The numbers of a column, row after row."""

    def __init__(self) -> None:
        self.values: set[float] = set()
        self._rows = 0
        self._ranks: dict[str, int] | None = {}  # {query: its numbers as bits}, while each comes once in its query

    def add(self, query_id: str, number: float) -> None:
        """Count one row."""
        self._rows += 1
        self.values.add(number)
        if self._ranks is not None:
            bits = self._ranks.get(query_id, 0)
            if isinstance(number, float) or not 0 <= number < 1 << 12 or bits >> number & 1:
                self._ranks = None
            else:
                self._ranks[query_id] = bits | 1 << number

    @property
    def are_ranks(self) -> bool:
        """Whether every query has 1, 2, 3 ... in any order, or 0, 1, 2 ...: each once, some query more than one."""
        lists = list((self._ranks or {}).values())
        if lists and all(bits & 1 for bits in lists):
            return all(bits & (bits + 1) == 0 for bits in lists) and max(lists) >> (_FROM_0 - 1) > 0
        return bool(lists) and all(bits & (bits + 2) == 0 for bits in lists) and max(lists) > 2

    @property
    def are_no_grades(self) -> bool:
        """Whether they are too many or too far apart for grades: another in most rows, decimal or never 0."""
        if self._rows < 2 or len(self.values) <= self._rows / 2:
            return False
        if any(isinstance(value, float) for value in self.values):
            return len(self.values) > SEVERAL
        return 0 not in self.values and max(self.values) > _SCALE
