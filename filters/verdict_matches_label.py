"""Verdict matches label."""

from __future__ import annotations

from typing import ClassVar, Literal

from distill.records import Pair, Trace
from filters.base import Rule


class VerdictMatchesLabel(Rule):
    """Drops traces whose verdict is not the pair's label, as Rank1 did (15 % of its traces; arXiv 2502.18418).

    A grade of 1 or more counts as relevant. `unlabelled` says what happens to pairs without a label.
    """

    name: ClassVar[str] = "verdict_matches_label"
    unlabelled: Literal["keep", "drop"] = "keep"

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The disagreement; a trace without a verdict is another filter's business."""
        if pair.label is None:
            return None if self.unlabelled == "keep" else "the pair has no label to compare the verdict with"
        if trace.verdict is None or (trace.verdict > 0) == (pair.label > 0):
            return None
        said, labelled = ("true", "not relevant") if trace.verdict else ("false", "relevant")
        return f"the teacher says {said}, the label says {labelled}"
