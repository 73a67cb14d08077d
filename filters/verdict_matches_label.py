"""The filter `verdict_matches_label`, on by default; the engine calls it for each trace."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import RowFilter, says_relevant, verdict_word


class VerdictMatchesLabel(RowFilter):
    """Drops traces whose verdict is not the pair's label, as Rank1 did (15 % of its traces; arXiv 2502.18418).

    Labels of `pairs.relevant_from` and above count as relevant; so do a graded teacher's verdicts from the grade on
    that its prompt calls so (`graded_4`: 2). `unlabelled`: what happens to pairs without a label.
    """

    unlabelled: Literal["keep", "drop"] = Field(
        "keep", description="pairs without a label: kept with the teacher's verdict, or dropped"
    )

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The disagreement; a trace without a verdict is another filter's business."""
        if pair.label is None:
            return None if self.unlabelled == "keep" else "the pair has no label to compare the verdict with"
        if says_relevant(trace) in (None, pair.relevant):
            return None
        label = "relevant" if pair.relevant else "not relevant"
        return f"the teacher says {verdict_word(trace)}, the label says {label}"
