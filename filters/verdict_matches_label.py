"""Verdict matches label."""

from __future__ import annotations

from typing import ClassVar, Literal

from distill.records import Pair, Trace
from filters.base import Rule
from filters.verdicts import says_relevant, words


class VerdictMatchesLabel(Rule):
    """Drops traces whose verdict is not the pair's label, as Rank1 did (15 % of its traces; arXiv 2502.18418).

    Labels of `pairs.relevant_from` and above count as relevant; so do a graded teacher's verdicts from the grade on
    that its prompt calls so (`graded_4`: 2). `unlabelled`: what happens to pairs without a label.
    """

    name: ClassVar[str] = "verdict_matches_label"
    unlabelled: Literal["keep", "drop"] = "keep"

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The disagreement; a trace without a verdict is another filter's business."""
        if pair.label is None:
            return None if self.unlabelled == "keep" else "the pair has no label to compare the verdict with"
        if says_relevant(trace) in (None, pair.relevant):
            return None
        return f"the teacher says {words(trace)}, the label says {'relevant' if pair.relevant else 'not relevant'}"
