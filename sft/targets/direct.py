"""The target `direct`. Found by `sft.targets`."""

from __future__ import annotations

from distill.prompts import completion
from sft.targets.base import Target


class Direct(Target):
    """The verdict alone, after an empty reasoning."""

    modes = ("direct",)

    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """One row."""
        return [("direct", completion("direct", reasoning, grade, prompt))]
