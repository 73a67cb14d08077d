"""What a target is: what its students learn, and who trains them. Each file of this folder has a subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from reprlib import repr as short
from typing import Literal, cast, get_args

from distill.errors import PluginError
from distill.plugins import faulty, raised, shown
from distill.prompts import END_THINK, PROMPTS, as_data

Mode = Literal["think", "direct"]
MADE_UP = (  # two reasonings without a word in common, which each target is tried with
    "The query asks who wrote the song. The passage names Anna Holm as its author. So it answers the query.",
    "We want a ferry's hours. Nothing here gives times of departure. Therefore this text leaves us without them.",
)


class AnyTarget(ABC):
    """What is true of every target: `modes`, the ways in which its students are evaluated, a system each, and
    `trainer`, the module whose `train(job, keep)` trains them (`sft.training_job`)."""

    modes: tuple[Mode, ...]
    trainer: str
    reranks: bool = True
    """Whether its students score the lists of a first stage, and so are systems; else they make such lists."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:
            return  # a base of targets
        modes: object = getattr(cls, "modes", ())
        if not isinstance(modes, tuple) or not modes or not set(modes) <= set(get_args(Mode)):
            is_there = (
                f"{cls.__name__}.modes is {modes!r}" if hasattr(cls, "modes") else f"{cls.__name__} lacks `modes`"
            )
            raise TypeError(f'{is_there}; write a tuple of {", ".join(get_args(Mode))}, such as ("think",)')

    @property
    def mode(self) -> Mode:
        """How its students judge held-out pairs, and traces for `self_filter`: thinking only where that is all."""
        return "think" if self.modes == ("think",) else "direct"

    @abstractmethod
    def rows_with_reasoning(self) -> list[bool]:
        """For each training row of a trace, whether the reasoning is in it."""


class PairTarget(AnyTarget):
    """A target whose students write nothing: they learn a score for query and passage, from `LabelledPair` rows.

    Each such student has a base of its own, `StudentSettings.base`. `losses` are the names of `StudentSettings.loss`,
    the default first; `training` is what its trainer does where the configuration says nothing, `scratch` what differs
    for a base of random weights.
    """

    modes = ("direct",)
    losses: tuple[str, ...]
    training: Mapping[str, float]
    scratch: Mapping[str, float]

    def training_of(self, base: str | None) -> dict[str, float]:
        """The defaults of a student that starts from `base`, None for scratch."""
        return {**self.training, **(self.scratch if base in (None, "scratch") else {})}

    def rows_with_reasoning(self) -> list[bool]:
        """One row a pair, without its reasoning."""
        return [False]


class Target(AnyTarget):
    """What students of one kind are trained to write after the prompt's `<think>`; their base is `sft.base`."""

    trainer = "sft.train"

    @abstractmethod
    def completions(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """[(kind of row, what the student writes)] of one trace, without the end-of-text token.

        `grade` is the verdict to learn (rank1: 1 for true, 0 for false), `prompt` the name of the prompt, which has the
        words of the grades. Usually one row; several make as many training rows of the trace. The verdict comes right
        after `</think>`, where the score is read. `distill.prompts.completion` writes the usual forms; it raises
        ValueError for a grade beyond the scale of `prompt`.
        """

    def checked(self, reasoning: str, grade: int, prompt: str) -> list[tuple[str, str]]:
        """`completions`. Raises PluginError where they are none, or one lacks the verdict after its only `</think>`.

        What a reasoning itself holds of `</think>` and other control tokens is no fault of the target.
        """
        try:
            rows: object = self.completions(reasoning, grade, prompt)
        except Exception as error:
            raise raised(error) or error from None
        fault = shown(rows) if not isinstance(rows, list | tuple) else "" if rows else "no row"
        for row in rows if isinstance(rows, list | tuple) else ():
            if not (isinstance(row, tuple) and len(row) == 2 and all(isinstance(text, str) for text in row)):
                fault = short(row)
            elif wrong := _fault(row[1], grade, prompt, as_data(reasoning) == reasoning):
                fault = f"{wrong}: {short(row[1])}"
        if fault:
            verdict = f"{END_THINK}{PROMPTS[prompt].verdicts[grade]}"
            remedy = f"return [(kind of row, text)], the text with the grade's verdict, here {verdict!r}, once"
            raise faulty(self, "completions", f"`completions` returned {fault}", remedy)
        return list(cast(list[tuple[str, str]], rows))

    def try_out(self, grade: int, prompt: str) -> None:
        """Raise PluginError for what is wrong with `completions` of a made-up trace."""
        try:
            self.checked(MADE_UP[0], grade, prompt)
        except PluginError as error:
            raise PluginError(f"{error}; seen with a made-up trace, before anything was run") from None

    def rows_with_reasoning(self) -> list[bool]:
        """For each training row of a trace, whether the reasoning is in it."""
        one, other = (self.checked(reasoning, 0, "rank1") for reasoning in MADE_UP)
        return [row != changed for row, changed in zip(one, other, strict=True)]


def _fault(text: str, grade: int, prompt: str, strictly: bool) -> str:
    """What is wrong with a text to learn; `strictly` where no control token can come from the reasoning."""
    words = PROMPTS[prompt].verdicts
    before, _, after = text.partition(END_THINK)
    verdict, rest = f"{END_THINK}{words[grade]}", after.removeprefix(words[grade])
    if verdict not in text or (strictly and rest == after) or (strictly and rest[:1].isalnum()):
        return f"a text without {verdict!r}" + (" right after the first of them" if verdict in text else "")
    if strictly and (END_THINK in rest or rest.startswith(words)):
        return f"a text with more than one {END_THINK!r} or verdict"
    if strictly and as_data(before + rest) != before + rest:
        return "a text with a control token, such as the end of text, which is put there later"
    return ""
