"""The target `think`. Found by `sft.targets`."""

from __future__ import annotations

from distill.prompts import completion
from sft.targets.base import Target


class Think(Target):
    """Reason first, then the verdict: Rank1's students."""

    modes = ("think",)

    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """One row."""
        return [("think", completion("think", reasoning, grade, prompt))]
