"""The prompts that a student answers after SFT, one row a pair, and the order in which they are answered.

Written by `sft.examples` next to the SFT rows, read by `sft.after.train`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from distill.prompts import PROMPT_NAME, is_relevant, student_prompt, trained_grade
from distill.records import Example, Pair, Trace
from sft.after.privileged import TEMPLATES


@dataclass(frozen=True, slots=True)
class Task:
    """A pair to answer: what the student reads (`prompt`), and what it does not: the grade and the kept reasoning,
    "" where no trace of the pair is kept."""

    pair_id: str
    query_id: str
    query: str
    passage: str
    instruction: str | None
    prompt: str
    grade: int
    reasoning: str


def tasks(kept: Iterable[tuple[Pair, Trace]], prompt: str = PROMPT_NAME) -> Iterator[Task]:
    """One task a pair, of its first kept trace with a verdict; the grade is the one that SFT learns."""
    before = ""
    for pair, trace in kept:
        grade = trained_grade(trace.verdict, None if pair.label_before is None else pair.relevant, prompt)
        if grade is None or pair.pair_id == before:
            continue
        before = pair.pair_id
        text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
        yield Task(
            pair.pair_id, pair.query_id, pair.query, pair.passage, pair.instruction, text, grade, trace.reasoning
        )


def labelled_tasks(
    pairs: Iterable[Pair], kept: Iterable[tuple[Pair, Trace]], prompt: str = PROMPT_NAME
) -> Iterator[Task]:
    """The tasks of the kept traces, and one of every other pair with a label, both sorted by pair_id.

    On a graded scale a label without a trace is the highest grade or the lowest. A mined negative that is suspected to
    be relevant has no label that one could be paid for.
    """
    of_kept = tasks(kept, prompt)
    ahead = next(of_kept, None)
    for pair in pairs:
        grade = trained_grade(None, pair.relevant, prompt)
        if ahead is not None and ahead.pair_id == pair.pair_id:
            yield ahead
            ahead = next(of_kept, None)
        elif grade is not None and pair.suspected is None:
            text = student_prompt(pair.query, pair.passage, pair.instruction, prompt)
            yield Task(pair.pair_id, pair.query_id, pair.query, pair.passage, pair.instruction, text, grade, "")


def with_privileged(
    rows: Iterable[Example], kept: Iterable[tuple[Pair, Trace]], share: float, template: str, prompt: str, seed: int
) -> Iterator[Example]:
    """The rows of SFT, of which a share (drawn with the seed, by pair) reads the privileged context before its prompt.

    `kept` are the same pairs in the same order. A model of random weights learns so what such a context is for.
    """
    drawn = {
        task.pair_id: task
        for task in (tasks(kept, prompt) if share else ())
        if random.Random(f"{seed}:{task.pair_id}").random() < share
    }
    for row in rows:
        if task := drawn.get(row.pair_id):
            row = replace(row, prompt=TEMPLATES[template].fill(task.grade, task.reasoning, prompt) + row.prompt)
        yield row


def in_order(
    rows: Sequence[Task], steps: int, prompts: int, per_query: int, seed: int, scale: str = PROMPT_NAME
) -> list[Task]:
    """`steps` times `prompts` tasks, of which each consecutive `prompts` are answered in one step.

    In a step a query has at most `per_query` rows, one after another and in no other place, relevant and not relevant
    ones in turns as far as it has both. Each pass over the queries is shuffled anew. What a query gives in a pass is
    drawn anew too; the last one of a step gives no more than there is room for. Raises ValueError without a task, or
    where all queries together do not fill a step.
    """
    of_query: dict[str, list[Task]] = defaultdict(list)
    for task in rows:
        of_query[task.query_id].append(task)
    if sum(min(per_query, len(own)) for own in of_query.values()) < prompts:
        raise ValueError(f"{len(rows)} pairs of {len(of_query)} queries do not fill a step of {prompts} prompts")
    rng = random.Random(f"after:{seed}")
    ordered: list[Task] = []
    waiting: list[str] = []
    for _ in range(steps):
        room, used = prompts, set[str]()
        while room:
            if not waiting:
                waiting = sorted(of_query)
                rng.shuffle(waiting)
            place = next((n for n, query in enumerate(waiting) if query not in used), None)
            if place is None:  # the end of a pass, whose queries are all in this step
                waiting = []
                continue
            query = waiting.pop(place)
            used.add(query)
            drawn = _in_turns(of_query[query], rng, scale)[: min(per_query, room)]
            ordered += drawn
            room -= len(drawn)
    return ordered


def _in_turns(rows: list[Task], rng: random.Random, scale: str) -> list[Task]:
    """A query's tasks in a drawn order, relevant and not relevant ones in turns while there are both."""
    drawn = rng.sample(rows, len(rows))
    relevant = [task for task in drawn if is_relevant(task.grade, scale)]
    others = [task for task in drawn if not is_relevant(task.grade, scale)]
    paired = list(chain.from_iterable(zip(relevant, others, strict=False)))
    return paired + relevant[len(others) :] + others[len(relevant) :]
