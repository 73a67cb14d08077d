"""The target `mixed`. Found by `sft.targets`."""

from __future__ import annotations

from distill.prompts import completion
from sft.targets.base import Target


class Mixed(Target):
    """Both `think` and `direct`, two rows of each trace: one student that can be asked either way."""

    modes = ("think", "direct")

    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """A thinking row, and then a direct one."""
        return [(kind, completion(kind, reasoning, grade, prompt)) for kind in self.modes]
