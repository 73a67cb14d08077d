"""What the teaching side of `self_distil` reads before the student's prompt: named templates. Used by tasks and sft.

The context comes first, so that the whole still ends in `<think>`. Only the teaching side reads it: the student's own
prompt is `distill.prompts.student_prompt`, into which nothing of it goes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from distill.prompts import PROMPT_NAME, as_data, word_of


@dataclass(frozen=True, slots=True)
class Template:
    """A text with the places {verdict} and {trace}, of which either may be missing."""

    text: str

    @property
    def hash(self) -> str:
        """The beginning of the text's SHA-256, which is part of a student's fingerprint."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def fill(self, grade: int, reasoning: str, prompt: str = PROMPT_NAME) -> str:
        """The context of one pair; what the trace holds of control tokens is made data."""
        return self.text.format(verdict=word_of(grade, prompt), trace=as_data(reasoning))


TEMPLATES = {
    "label_and_trace": Template("Right verdict: {verdict}\nAn expert's reasoning: {trace}\n\n"),
    "trace": Template("An expert's reasoning: {trace}\n\n"),
    "label": Template("Right verdict: {verdict}\n\n"),
}
