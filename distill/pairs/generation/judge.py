"""The teacher as a judge: grades from 0 to 3, several samples, one consensus.

Called where pairs are made, and by `distill evaluate --judge-unjudged`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import TypeVar

from distill.errors import Stopped
from distill.pairs.generation.prompting import filled, read_grade
from distill.pairs.generation.questions import contents
from distill.pairs.generation.settings import JudgeSettings
from distill.records import Ask

LONGEST = 160  # characters of an answer that is shown
FIRST = 20  # keys, whose answers show whether this teacher grades at all
Key = TypeVar("Key")
Asking = tuple[Key, tuple[str, str | None, str]]  # a key; query, instruction, passage


def grades(
    ask: Ask, settings: JudgeSettings, items: Iterable[Asking[Key]], counts: Counter[str], purpose: str = "grade"
) -> dict[Key, int | None]:
    """{key: grade}; None where no more than half of the samples asked for lie within `spread` of their median.

    The median of the samples, the lower one of two: a doubtful passage is not called relevant. Counted in `counts`:
    asked, failed, unreadable, and `undecided` keys. Raises Stopped where none of the first answers is a grade: `FIRST`
    keys are asked about before the others.
    """
    prompts = ((key, filled("grade", query=q, instruction=i, passage=p)) for key, (q, i, p) in items)
    first = contents(ask, settings, purpose, islice(prompts, FIRST), counts)
    answers = [text for texts in first.values() for text in texts]
    if len(answers) >= FIRST and all(read_grade(text) is None for text in answers):
        shown = " ".join(answers[0].split())[:LONGEST]
        raise Stopped(
            f"teacher: none of the first {len(answers)} answers holds a grade from 0 to 3, such as {shown!r}; ask a "
            "model that follows the prompt. They are in the journal and nothing is lost"
        )
    grade_of: dict[Key, int | None] = {}
    for key, texts in chain(first.items(), contents(ask, settings, purpose, prompts, counts).items()):
        read = [value for text in texts if (value := read_grade(text)) is not None]
        counts["unreadable"] += len(texts) - len(read)
        grade = statistics.median_low(read) if read else 0
        agreed = sum(abs(value - grade) <= settings.spread for value in read) * 2 > settings.samples
        grade_of[key] = grade if agreed else None
        counts["undecided"] += not agreed
    return grade_of
