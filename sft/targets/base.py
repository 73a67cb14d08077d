"""What a target is: how a student of it writes its answers. Subclassed by one class in each file of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

Mode = Literal["think", "direct"]


class Target(ABC):
    """What students of one kind are trained to write after the prompt's `<think>`.

    `modes` are the ways in which such a student is evaluated, a system each.
    """

    modes: tuple[Mode, ...] = ("direct",)

    @abstractmethod
    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """[(kind of row, what the student writes)] of one trace, without the end-of-text token.

        Usually one; several make as many training rows of the trace. The verdict comes right after `</think>`, where
        the score is read. `distill.prompts.completion` writes the usual forms; it raises ValueError for a grade beyond
        the scale of `prompt`.
        """

    @property
    def mode(self) -> Mode:
        """How its students judge held-out pairs, and traces for `self_filter`: thinking only where that is all."""
        return "think" if self.modes == ("think",) else "direct"

    def rows_with_reasoning(self) -> list[bool]:
        """For each training row of a trace, whether the reasoning is in it."""
        mark = "some reasoning"
        return [mark in text for _, text in self.completions(mark, 0, "rank1")]
