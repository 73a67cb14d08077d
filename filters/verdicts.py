"""Whether a trace's verdict says relevant: true, or a grade of the scale that the teacher was asked on."""

from __future__ import annotations

import json
from functools import lru_cache

from distill.prompts import PROMPT_NAME, PROMPTS, Prompt
from distill.records import Trace


def says_relevant(trace: Trace) -> bool | None:
    """None where the trace has no verdict. The scale is that of the prompt which the trace's `teacher` names."""
    return None if trace.verdict is None else trace.verdict >= asked_with(trace.teacher).relevant_from


def words(trace: Trace) -> str:
    """The verdict as the teacher said it: true, false, or the grade."""
    if trace.verdict is None:
        return "nothing"
    verdicts = asked_with(trace.teacher).verdicts
    return verdicts[trace.verdict].strip() if trace.verdict < len(verdicts) else str(trace.verdict)


@lru_cache(maxsize=1024)
def asked_with(teacher: str) -> Prompt:
    """The prompt that a trace's `teacher` (JSON) names; Rank1's where it names none that is known."""
    try:
        name = json.loads(teacher).get("prompt", PROMPT_NAME)
    except (json.JSONDecodeError, AttributeError):
        name = PROMPT_NAME
    return PROMPTS.get(name, PROMPTS[PROMPT_NAME])
