"""What files name and a corpus has no text of: counted, and an error above a share.

Called where pairs and evaluation sets are read, by miners, and for the lists of a first stage.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from distill.errors import DataError
from distill.files.values import similar_id

MISSING = 0.01  # the share that may be missing; a file of another corpus lacks nearly all, a cleaned corpus a few


@dataclass(slots=True)
class _Gap:
    named: int = 0
    missing: int = 0
    first: str = ""


class Gaps:
    """Counts, by what names them, the passages and queries that have no text."""

    def __init__(self, allowed: float = MISSING, setting: str = "missing") -> None:
        """`allowed` is the share that may be missing, `setting` the key that says so."""
        self._allowed, self._setting = allowed, setting
        self._gaps: dict[str, _Gap] = {}

    def lacks(
        self, what: str, noun: str, key: str, has_text: bool, where: str, place: str, ids: Container[str] = ()
    ) -> bool:
        """Count one row of `what` (such as "labels") that names a passage or query (`noun`); True where it has no text.

        `where` is the row's file and line, `place` where the text should be, `ids` those that have one there.
        """
        gap = self._gaps.get(what)
        if gap is None:
            gap = self._gaps[what] = _Gap()
        gap.named += 1
        if has_text:
            return False
        gap.missing += 1
        if not gap.first:
            similar = similar_id(key, ids)
            hint = f" (there is {similar!r})" if similar else ""
            gap.first = f"{where}: {noun} {key!r} has no text in {place}{hint}"
        return True

    def check(self) -> None:
        """Raise DataError where more is missing than is allowed."""
        for what, gap in self._gaps.items():
            if gap.missing > self._allowed * gap.named:
                raise DataError(
                    f"{gap.first}; add it or take it out, or name files of one corpus ({gap.missing:,} of "
                    f"{gap.named:,} {what} have no text; {self._setting} allows a share of {self._allowed:g})"
                )

    def counts(self) -> dict[str, int]:
        """{what was left out, and the first of them: how many}."""
        return {f"{what} without a text ({gap.first})": gap.missing for what, gap in self._gaps.items() if gap.missing}
