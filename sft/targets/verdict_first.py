"""The target `verdict_first`. Found by `sft.targets`."""

from __future__ import annotations

from distill.prompts import completion
from sft.targets.base import Target


class VerdictFirst(Target):
    """The verdict after an empty reasoning, then the reasons: scored as fast as `direct`."""

    modes = ("direct",)

    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """One row."""
        return [("verdict_first", completion("verdict_first", reasoning, grade, prompt))]
