"""Counts the answers without a readable verdict while the teacher is asked. For the session of stage `trace`.

Of a teacher that is asked to explain (`teacher.elicit: written`), also those with an explanation; of one whose
log-probabilities are asked for (`teacher.logprobs`), also whether any came.
"""

from __future__ import annotations

from distill.errors import Stopped
from distill.records import Answer
from distill.verdicts import parse_verdict
from distill.written import as_traced
from teacher.faults import shorten
from teacher.settings import TeacherSettings

ENOUGH_TO_STOP, EXAMPLES, LONGEST = 50, 3, 160
ENOUGH_TO_SAY = 20


class VerdictWatch:
    """Sees every answer of a pair; those of earlier sessions only until it is clear that some can be read."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._prompt, self._required = settings.prompt, settings.require_verdict
        self._elicit = settings.elicit
        self._explain = settings.elicit == "written" and settings.require_reasoning
        self._logprobs = settings.logprobs
        self.readable = self.unreadable = self.cut = self.explained = 0
        self.examples: list[str] = []

    @property
    def undecided(self) -> bool:
        """Whether the answers so far leave open if this teacher's verdicts can be read."""
        unclear = not self.readable and self.unreadable < ENOUGH_TO_STOP
        return unclear or (self._explain and not self.explained and self._seen < ENOUGH_TO_STOP)

    @property
    def _seen(self) -> int:
        return self.readable + self.unreadable

    def see(self, answer: Answer) -> str | None:
        """Count an answer. Returns what to say when enough unreadable ones have come to show them, else None."""
        if answer.error is not None:
            return None
        answer = as_traced(answer, self._elicit, self._prompt)
        self.explained += bool(answer.reasoning)
        if parse_verdict(answer.content, self._prompt) is not None:
            self.readable += 1
            self._logprobs = self._logprobs and answer.words is None
            if self._logprobs and self.readable == ENOUGH_TO_SAY:
                return (
                    f"  teacher.logprobs: none of the first {ENOUGH_TO_SAY} readable answers came with "
                    "log-probabilities; the server gives none, or none for this model: their p_relevant will be null"
                )
            return None
        self.unreadable += 1
        self.cut += answer.finish_reason == "length"
        if len(self.examples) == EXAMPLES:
            return None
        self.examples.append(shorten(answer.content, LONGEST) or "(no text after the reasoning)")
        return f"  {self._description()}" if len(self.examples) == EXAMPLES else None

    def reason_to_stop(self) -> Stopped | None:
        """The error to raise when the first answers hold no readable verdict at all, or no explanation where one is
        asked for, unless the settings go on."""
        if self._explain and self.readable and not self.explained and self._seen >= ENOUGH_TO_STOP:
            return Stopped(
                f"teacher: none of the first {self._seen} answers explains anything before its verdict, though "
                "teacher.elicit: written asks for it; ask another model. They are in the journal and nothing is lost. "
                "To go on all the same, set teacher.require_reasoning: false"
            )
        if not self._required or self.readable or self.unreadable < ENOUGH_TO_STOP:
            return None
        return Stopped(
            f"teacher: {self._description()}\n"
            "They are in the journal and nothing is lost. To go on all the same, set teacher.require_verdict: false"
        )

    def _description(self) -> str:
        if self.cut * 2 > self.unreadable:
            remedy = f"{self.cut} were cut off at teacher.max_tokens: raise it"
        else:
            remedy = "ask a model that follows the prompt, or another teacher.prompt"
        shown = "".join(f"\n    {example}" for example in self.examples)
        first = f"{self.unreadable} of the first {self._seen} answers"
        return f"{first} hold no verdict that can be read ({remedy}), such as{shown}"
