"""What a target is: how a student of it writes its answers. Subclassed by one class in each file of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from reprlib import repr as short
from typing import Literal, cast, get_args

from distill.plugins import faulty, shown
from distill.prompts import END_THINK, PROMPTS

Mode = Literal["think", "direct"]


class Target(ABC):
    """What students of one kind are trained to write after the prompt's `<think>`.

    `modes` are the ways in which such a student is evaluated, a system each.
    """

    modes: tuple[Mode, ...] = ("direct",)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.modes or not set(cls.modes) <= set(get_args(Mode)):
            raise TypeError(f"{cls.__name__}.modes is {cls.modes!r}; write a tuple of {', '.join(get_args(Mode))}")

    @abstractmethod
    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """[(kind of row, what the student writes)] of one trace, without the end-of-text token.

        `grade` is the verdict to learn (rank1: 1 for true, 0 for false), `prompt` the name of the prompt, which has the
        words of the grades. Usually one row; several make as many training rows of the trace. The verdict comes right
        after `</think>`, where the score is read. `distill.prompts.completion` writes the usual forms; it raises
        ValueError for a grade beyond the scale of `prompt`.
        """

    def checked(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """`completions`. Raises PluginError where they are none, or one lacks the verdict after `</think>`."""
        verdict = f"{END_THINK}{PROMPTS[prompt].verdicts[grade]}"
        rows: object = self.completions(reasoning, grade, prompt)
        fault = shown(rows) if not isinstance(rows, list | tuple) else "" if rows else "no row"
        for row in rows if isinstance(rows, list | tuple) else ():
            if not (isinstance(row, tuple) and len(row) == 2 and all(isinstance(text, str) for text in row)):
                fault = short(row)
            elif verdict not in row[1]:
                fault = f"a text without {verdict!r}: {short(row[1])}"
        if fault:
            remedy = f"return [(kind of row, text)], the text with the grade's verdict, here {verdict!r}"
            raise faulty(self, "completions", f"`completions` returned {fault}", remedy)
        return list(cast(list[tuple[str, str]], rows))

    @property
    def mode(self) -> Mode:
        """How its students judge held-out pairs, and traces for `self_filter`: thinking only where that is all."""
        return "think" if self.modes == ("think",) else "direct"

    def rows_with_reasoning(self) -> list[bool]:
        """For each training row of a trace, whether the reasoning is in it."""
        mark = "some reasoning"
        return [mark in text for _, text in self.checked(mark, 0, "rank1")]
