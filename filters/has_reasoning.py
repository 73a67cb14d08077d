"""The filter `has_reasoning`, on by default; the engine calls it for each trace."""

from __future__ import annotations

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import RowFilter


class HasReasoning(RowFilter):
    """Drops empty think blocks: a student trained on them learns to skip its reasoning."""

    min_characters: int = Field(20, ge=1, description="characters of reasoning that a trace needs")

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """How much there is."""
        length = len(trace.reasoning.strip())
        if length >= self.min_characters:
            return None
        return f"the reasoning has fewer than {self.min_characters} characters" if length else "there is no reasoning"
