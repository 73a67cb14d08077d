"""The filter `confidence`; the engine calls it for each trace."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import RowFilter, sure_of


class Confidence(RowFilter):
    """Drops verdicts of which the teacher itself is less sure than `at_least`, by their probability; sees no label.

    The probability is that of the verdict's own side (`p_relevant`, or what is left of it): measured with
    `teacher.logprobs`, or what an imported answer states. A verdict that was drawn against the odds is below 0.5.
    Figures in docs/benchmarks/real.md.
    """

    at_least: float = Field(0.9, gt=0.5, le=1, description="the least probability of a verdict that is kept")
    unknown: Literal["drop", "keep"] = Field(
        "drop", description="verdicts whose probability is not known: dropped or kept"
    )

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The probability; a trace without a verdict is another filter's business."""
        if trace.verdict is None:
            return None
        sure = sure_of(trace)
        if sure is None:
            return None if self.unknown == "keep" else "nothing says how likely the verdict is"
        return None if sure >= self.at_least - 1e-9 else f"unsure of its own verdict: {sure:.2f}"
