"""Has reasoning."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import Rule


class HasReasoning(Rule):
    """Drops empty think blocks: a student trained on them learns to skip its reasoning."""

    name: ClassVar[str] = "has_reasoning"
    min_characters: int = Field(20, ge=1)

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """How much there is."""
        length = len(trace.reasoning.strip())
        if length >= self.min_characters:
            return None
        return f"the reasoning has fewer than {self.min_characters} characters" if length else "there is no reasoning"
