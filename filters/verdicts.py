"""Whether a trace's verdict says relevant: true, or a grade of the scale that the teacher was asked on."""

from __future__ import annotations

from distill.prompts import PROMPTS, Prompt, prompt_of, word_of
from distill.records import Trace


def says_relevant(trace: Trace) -> bool | None:
    """None where the trace has no verdict. The scale is that of the prompt which the trace's `teacher` names."""
    return None if trace.verdict is None else trace.verdict >= asked_with(trace.teacher).relevant_from


def words(trace: Trace) -> str:
    """The verdict as the teacher said it: true, false, or the grade."""
    if trace.verdict is None:
        return "nothing"
    return word_of(trace.verdict, prompt_of(trace.teacher))


def asked_with(teacher: str) -> Prompt:
    """The prompt that a trace's `teacher` (JSON) names; Rank1's where it names none that is known."""
    return PROMPTS[prompt_of(teacher)]
