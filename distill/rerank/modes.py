"""The modes: what is asked of the engine for a pair, and in what order.

Each is a generator that yields tasks and is sent their results, so that the steps of many pairs interleave freely;
what it returns is an `RawJudgement` a pair, before calibration.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from distill.records import Pair
from distill.rerank.backends.base import Result, Task
from distill.rerank.repetition import Loops
from distill.rerank.student_format import EncodedPrompt, StudentFormat

Mode = Literal["think", "direct", "verdict_first", "budget", "adaptive"]
MODES = ("think", "direct", "verdict_first", "budget", "adaptive")
# A line break and one token: a student that was trained to do both, think and answer directly, would else often close
# the block without reasoning, when it is asked to think (measured on `mixed`: always; docs/diary.md).
AT_LEAST = 2
FORCED = ("length", "no_end", "budget", "looped")  # finish reasons of answers that did not end by themselves


@dataclass(frozen=True, slots=True)
class Window:
    """Where mode `adaptive` thinks: the direct log-odds lie between `low` and `high`, and the passage is among the
    `top` best of its query by them (None: however many)."""

    low: float = -2.0
    high: float = 2.0
    top: int | None = None


@dataclass(frozen=True, slots=True)
class JudgementPlan:
    """How pairs are judged. `limit` bounds the reasoning in tokens; `loops` says whether a text that repeats itself is
    ended.

    For a server: `in_order` judges pairs in the order given; one that `gives_way` waits while other requests have pairs
    to be read; `part_of` names the mode that the judgements are a part of (`adaptive`: adaptive.direct)."""

    mode: Mode = "think"
    limit: int = 8192
    samples: int = 1
    temperature: float = 0.6
    seed: int = 0
    explanations: bool = False
    window: Window = Window()
    loops: Loops = "stop"
    in_order: bool = False
    gives_way: bool = False
    part_of: str = ""

    def room(self, form: StudentFormat) -> int:
        """The tokens that a prompt has to leave free: for the reasoning, the forced close and the verdict; none where
        the student writes nothing."""
        if not form.writes:
            return 0
        without_reasoning = self.mode == "direct" or (self.mode == "verdict_first" and not self.explanations)
        return len(form.close) + (1 if without_reasoning else self.limit + 1)


@dataclass(frozen=True, slots=True)
class RawJudgement:
    """What was read of one pair: log-odds, verdict (None: more than half of the probability is on other words),
    the tokens written, why it ended, and by which mode it was answered in the end."""

    margin: float
    verdict: int | None
    ids: list[int]
    tokens: int
    finish: str
    mode: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class TimedPlans:
    """How a request is judged that has to be answered in time: directly first, then by thinking about what `window`
    says is unsure (on the scale of the judgements' margins), and where time is left and the `window` was not chosen for
    this student, about the others. `think` is None for a student that answers directly."""

    direct: JudgementPlan
    think: JudgementPlan | None
    window: Window
    chosen: bool = True


Steps = Generator[list[Task], list[Result], list[RawJudgement]]


def steps(form: StudentFormat, plan: JudgementPlan, prompts: Sequence[EncodedPrompt]) -> Steps:
    """Judge the pairs of one query together (only `adaptive` looks from one to the other)."""
    if plan.mode == "adaptive":
        return (yield from _adaptive(form, plan, prompts))
    parts = [_Part(at, row) for at, each in enumerate(prompts) for row in each.rows]
    opinions = yield from _answer(form, plan, [part.row for part in parts], [prompts[part.pair].pair for part in parts])
    found = [[o for part, o in zip(parts, opinions, strict=True) if part.pair == at] for at in range(len(prompts))]
    judged = [_best(each, prompted.how) for each, prompted in zip(found, prompts, strict=True)]
    return [replace(o, mode=f"{plan.part_of}.{o.mode}") for o in judged] if plan.part_of else judged


@dataclass(frozen=True, slots=True)
class _Part:
    pair: int
    row: list[int]


def _best(parts: list[RawJudgement], how: str) -> RawJudgement:
    """Of a split passage's parts the one with the best score counts; what all of them cost is added up."""
    best = max(parts, key=lambda o: o.margin)
    return replace(best, tokens=sum(o.tokens for o in parts), how=how)


def _adaptive(form: StudentFormat, plan: JudgementPlan, prompts: Sequence[EncodedPrompt]) -> Steps:
    direct = yield from steps(form, replace(plan, mode="direct"), prompts)
    unsure = think_about([o.margin for o in direct], plan.window)
    again = yield from steps(form, replace(plan, mode="think"), [prompts[at] for at in unsure])
    found = [replace(o, mode="adaptive.direct") for o in direct]
    for at, opinion in zip(unsure, again, strict=True):
        found[at] = replace(opinion, mode="adaptive.think", tokens=opinion.tokens + direct[at].tokens)
    return found


def think_about(margins: Sequence[float], window: Window) -> list[int]:
    """Which of a query's passages are thought about, given their direct log-odds."""
    order = sorted(range(len(margins)), key=lambda at: -margins[at])[: window.top]
    return sorted(at for at in order if window.low < margins[at] < window.high)


def _answer(form: StudentFormat, plan: JudgementPlan, rows: list[list[int]], pairs: list[Pair]) -> Steps:
    if plan.mode in ("direct", "verdict_first"):
        results = yield [Task(row + form.close, pair) for row, pair in zip(rows, pairs, strict=True)]
        opinions = [opinion(form, r.logprobs or [], [], 1, "stop", plan.mode) for r in results]
        if plan.mode == "verdict_first" and plan.explanations:
            opinions = yield from _explained(form, plan, rows, pairs, opinions)
        return opinions
    heat = plan.temperature if plan.samples > 1 else 0.0
    least, seed = min(AT_LEAST, plan.limit), plan.seed * 1_000_003
    tasks = [
        Task(row, pair, plan.limit, min_new=least, temperature=heat, seed=seed + number, loops=plan.loops)
        for row, pair in zip(rows, pairs, strict=True)
        for number in range(plan.samples)
    ]
    results = yield tasks
    read = yield from _read(form, tasks, results)
    bound = "budget" if plan.mode == "budget" else "length"
    found = []
    for ids, result, logprobs in zip((ids for ids, _ in read), results, (lp for _, lp in read), strict=True):
        finish = bound if result.finish == "length" else result.finish
        found.append(opinion(form, logprobs, ids, len(ids) + 1, finish, plan.mode))
    binary = form.grades == (1, 0)
    return [mean(found[at : at + plan.samples], binary) for at in range(0, len(found), plan.samples)]


def _read(
    form: StudentFormat, tasks: list[Task], results: list[Result]
) -> Generator[list[Task], list[Result], list[tuple[list[int], list[float]]]]:
    """(ids, verdicts) of what was written; what did not end is closed by force, and then read."""
    ids = [
        r.ids if r.finish == "stop" else r.closed or form.closed(r.ids, len(t.ids))
        for t, r in zip(tasks, results, strict=True)
    ]
    again = [at for at, r in enumerate(results) if r.logprobs is None or (r.finish != "stop" and r.closed is None)]
    verdicts = [r.logprobs or [] for r in results]
    if again:
        readings = yield [Task(tasks[at].ids + ids[at], tasks[at].pair) for at in again]
        for at, reading in zip(again, readings, strict=True):
            verdicts[at] = reading.logprobs or []
    return list(zip(ids, verdicts, strict=True))


def _explained(
    form: StudentFormat, plan: JudgementPlan, rows: list[list[int]], pairs: list[Pair], opinions: list[RawJudgement]
) -> Steps:
    """The trace that a verdict-first student writes after its verdict."""
    grades = [o.verdict if o.verdict is not None else form.grades[0 if o.margin > 0 else -1] for o in opinions]
    said = [form.verdicts[form.grades.index(grade)] for grade in grades]
    results = yield [
        Task([*row, *form.close, token], pair, plan.limit, to_end=False, loops=plan.loops)
        for row, pair, token in zip(rows, pairs, said, strict=True)
    ]
    return [
        replace(o, ids=r.ids, tokens=len(r.ids) + 1, finish=r.finish) for o, r in zip(opinions, results, strict=True)
    ]


def opinion(
    form: StudentFormat, logprobs: Sequence[float], ids: list[int], tokens: int, finish: str, mode: str
) -> RawJudgement:
    """Log-odds of the expected grade: for true and false simply the difference of their log-probabilities."""
    top = max(form.grades)
    true = _logsum([lp + math.log(g / top) for lp, g in zip(logprobs, form.grades, strict=True) if g])
    false = _logsum([lp + math.log(1 - g / top) for lp, g in zip(logprobs, form.grades, strict=True) if g < top])
    said = form.grades[max(range(len(logprobs)), key=lambda at: logprobs[at])]
    forced = finish in FORCED
    verdict = said if forced or _logsum(logprobs) > math.log(0.5) else None
    return RawJudgement(true - false, verdict, ids, tokens, finish, mode)


def mean(samples: list[RawJudgement], binary: bool = True) -> RawJudgement:
    """Several samples as one: the mean of their scores, with the trace whose own score lies closest to it.

    Computed in logarithms, so that saturated scores do not tie. Source of the consensus trace: ERank, Retro*.
    """
    if len(samples) == 1:
        return samples[0]
    true = _logsum([-softplus(-o.margin) for o in samples])
    false = _logsum([-softplus(o.margin) for o in samples])
    margin = true - false
    closest = min(samples, key=lambda o: abs(score_of(o.margin) - score_of(margin)))
    forced = next((o.finish for o in samples if o.finish in FORCED), closest.finish)
    said = [o.verdict for o in samples if o.verdict is not None]
    verdict = (int(margin > 0) if binary else max(said, key=said.count)) if said else None
    return replace(closest, margin=margin, verdict=verdict, tokens=sum(o.tokens for o in samples), finish=forced)


def score_of(margin: float) -> float:
    """The probability of log-odds."""
    return 1 / (1 + math.exp(-margin)) if margin > -700 else 0.0


def _logsum(values: Sequence[float]) -> float:
    top = max(values, default=-math.inf)
    return top + math.log(sum(math.exp(v - top) for v in values)) if top > -math.inf else -math.inf


def softplus(x: float) -> float:
    """log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
