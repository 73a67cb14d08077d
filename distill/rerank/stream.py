"""Many requests through one engine: rows of all of them run together, and are taken in turn, one request after another.

One thread owns a stream and calls `step`; nothing in here locks or waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.records import Pair
from distill.rerank.backends.base import Backend, Result, Task
from distill.rerank.modes import JudgementPlan, RawJudgement, Steps, steps
from distill.rerank.student_format import Long

CHUNK = 64  # pairs tokenised together


@dataclass(slots=True, eq=False)
class _Job:
    """Pairs judged together: one, or all of a query's in mode adaptive; `open` counts the tasks without a result."""

    ticket: RerankRequest
    at: list[int]
    steps: Steps
    tasks: list[Task] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class RerankRequest:
    """A request: its pairs, what has been found so far, and whom to tell."""

    pairs: Sequence[Pair]
    one: Callable[[int, RawJudgement], None]
    done: Callable[[BaseException | None], None]
    plan: JudgementPlan
    groups: Iterator[list[int]]
    left: int
    ready: deque[Task] = field(default_factory=deque)
    running: set[Task] = field(default_factory=set)
    over: bool = False


class Stream:
    """Requests over one backend. `submit` and `cancel` at any time between steps."""

    def __init__(self, backend: Backend, long: Long = "cut") -> None:
        self.backend, self.long = backend, long
        self._tickets: deque[RerankRequest] = deque()
        self._running: dict[Task, _Job] = {}

    @property
    def running(self) -> int:
        """Rows that are with the engine."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Pairs without a judgement, of all requests."""
        return sum(ticket.left for ticket in self._tickets)

    def submit(
        self,
        pairs: Sequence[Pair],
        plan: JudgementPlan,
        one: Callable[[int, RawJudgement], None],
        done: Callable[[BaseException | None], None],
    ) -> RerankRequest:
        """Take a request in. `one(i, opinion)` is called as each pair is judged, `done(None)` after the last, or
        `done(error)` where a pair of it cannot be judged; both from `step`."""
        ticket = RerankRequest(pairs, one, done, plan, groups(pairs, plan, self.backend.by_query), len(pairs))
        self._tickets.append(ticket)
        return ticket

    def cancel(self, ticket: RerankRequest) -> None:
        """Forget a request; nothing of it is called any more."""
        ticket.over = True
        for task in ticket.running:
            self.backend.drop(task)
            self._running.pop(task, None)
        ticket.running.clear()
        ticket.ready.clear()
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def clear(self) -> None:
        """Forget all requests."""
        for ticket in list(self._tickets):
            self.cancel(ticket)

    def step(self) -> bool:
        """One step of the engine on everything submitted; False where there is nothing to do."""
        self._feed()
        if not self._running:
            return bool(self._tickets)
        for task, result in self.backend.step():
            job = self._running.pop(task, None)
            if job is None:
                continue
            job.ticket.running.discard(task)
            job.results[id(task)] = result
            if len(job.results) == len(job.tasks):
                self._advance(job, [job.results[id(each)] for each in job.tasks])
        return True

    def _feed(self) -> None:
        """Give the engine what it has room for, one row of each request in turn."""
        room = self.backend.free
        idle = 0
        while room > 0 and self._tickets and idle < len(self._tickets):
            ticket = self._tickets[0]
            self._tickets.rotate(-1)
            if not ticket.ready and ticket.left:
                self._open(ticket)
            if ticket.over:
                idle = 0
                continue
            if not ticket.pairs and not ticket.left:
                self._finish(ticket, None)
                continue
            if not ticket.ready:
                idle += 1
                continue
            task = ticket.ready.popleft()
            ticket.running.add(task)
            self._running[task] = task.owner
            self.backend.add(task)
            room -= 1
            idle = 0

    def _open(self, ticket: RerankRequest) -> None:
        """Start the next pairs of a request: their prompts, and the first tasks."""
        chosen: list[list[int]] = []
        while sum(map(len, chosen)) < CHUNK and (group := next(ticket.groups, None)):
            chosen.append(group)
        try:
            pairs = [ticket.pairs[at] for group in chosen for at in group]
            form = self.backend.form
            prompts = iter(form.prompts(pairs, ticket.plan.room(form), self.long))
            for group in chosen:
                job = _Job(ticket, group, steps(self.backend.form, ticket.plan, [next(prompts) for _ in group]))
                self._advance(job, None)
        except Exception as error:
            self._finish(ticket, error)

    def _advance(self, job: _Job, results: list[Result] | None) -> None:
        ticket = job.ticket
        try:
            tasks = next(job.steps) if results is None else job.steps.send(results)
            while not tasks:  # a mode that had nothing to ask in this round
                tasks = job.steps.send([])
        except StopIteration as stop:
            self._judged(job, stop.value)
            return
        except Exception as error:
            self._finish(ticket, error)
            return
        job.tasks, job.results = tasks, {}
        for task in tasks:
            task.owner = job
        # What a pair still needs comes before pairs that have not begun: requests end sooner, and hold less.
        (ticket.ready.extend if results is None else ticket.ready.extendleft)(tasks)

    def _judged(self, job: _Job, opinions: list[RawJudgement]) -> None:
        ticket = job.ticket
        for at, opinion in zip(job.at, opinions, strict=True):
            ticket.left -= 1
            ticket.one(at, opinion)
        if ticket.left == 0 and not ticket.over:
            self._finish(ticket, None)

    def _finish(self, ticket: RerankRequest, error: BaseException | None) -> None:
        self.cancel(ticket)
        ticket.done(error)


def groups(pairs: Sequence[Pair], plan: JudgementPlan, by_query: bool = False) -> Iterator[list[int]]:
    """Which pairs are judged together, and in what order: a query's side by side for engines that cache what their
    prompts share, else the longest first, so that batches hold rows of like length."""
    if plan.mode == "adaptive" or by_query:
        queries: dict[Any, list[int]] = {}
        for at, pair in enumerate(pairs):
            queries.setdefault((pair.query_id, pair.query, pair.instruction), []).append(at)
        if plan.mode == "adaptive":
            return iter(queries.values())
        return ([at] for rows in queries.values() for at in rows)
    order = sorted(range(len(pairs)), key=lambda at: -len(pairs[at].passage) - len(pairs[at].query))
    return ([at] for at in order)
