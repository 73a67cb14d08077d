"""Many requests through one engine: rows of all of them run together, and are taken in turn, one request after another.

One thread owns a stream and calls `step`; nothing in here locks or waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.plugins import faulty
from distill.records import Pair
from distill.rerank.backends.base import Backend, Result, Task, faulty_step, finished_tasks
from distill.rerank.modes import JudgementPlan, RawJudgement, Steps, steps
from distill.rerank.student_format import Long

CHUNK = 64  # pairs tokenised together,
CHUNK_IN_ORDER = 1  # and of a request that may be given up before its last pairs are read
TIMED = 16  # rows of such requests that are with the engine together, at the least
MOST_IDLE = 1_000_000  # steps without a result: far more than the tokens that a student can write


@dataclass(slots=True, eq=False)
class _Job:
    """Pairs judged together: one, or all of a query's in mode adaptive; `open` counts the tasks without a result."""

    request: RerankRequest
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
    opened: bool = False  # whether all of its pairs have been begun
    over: bool = False

    @property
    def timed(self) -> bool:
        """Whether it is read as far as its time allows."""
        return self.plan.in_order and not self.plan.gives_way


class Stream:
    """Requests over one backend. `submit` and `cancel` at any time between steps."""

    def __init__(self, backend: Backend, long: Long = "cut") -> None:
        self.backend, self.long = backend, long
        self._requests: deque[RerankRequest] = deque()
        self._running: dict[Task, _Job] = {}
        self.tokens_read = 0
        self._idle = 0  # steps without a result, in a row

    @property
    def running(self) -> int:
        """Rows that are with the engine."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Pairs without a judgement, of all requests."""
        return sum(request.left for request in self._requests)

    def submit(
        self,
        pairs: Sequence[Pair],
        plan: JudgementPlan,
        one: Callable[[int, RawJudgement], None],
        done: Callable[[BaseException | None], None],
    ) -> RerankRequest:
        """Take a request in. `one(i, opinion)` is called as each pair is judged, `done(None)` after the last, or
        `done(error)` where a pair of it cannot be judged; both from `step`."""
        request = RerankRequest(pairs, one, done, plan, groups(pairs, plan, self.backend.by_query), len(pairs))
        self._requests.append(request)
        return request

    def cancel(self, request: RerankRequest) -> None:
        """Forget a request; nothing of it is called any more."""
        request.over = True
        for task in request.running:
            self.backend.drop(task)
            self._running.pop(task, None)
        request.running.clear()
        request.ready.clear()
        if request in self._requests:
            self._requests.remove(request)

    def clear(self) -> None:
        """Forget all requests."""
        for request in list(self._requests):
            self.cancel(request)

    def step(self) -> bool:
        """One step of the engine on everything submitted; False where there is nothing to do."""
        self._feed()
        if not self._running:
            return bool(self._requests)
        finished = finished_tasks(self.backend)
        self._idle = 0 if finished else self._idle + 1
        if self._idle > MOST_IDLE:
            raise faulty_step(self.backend, f"nothing {MOST_IDLE:,} times in a row, for {len(self._running)} tasks")
        for task, result in finished:
            job = self._running.pop(task, None)
            if job is None:
                if isinstance(task.owner, _Job) and task.owner.request.over:
                    continue  # given up before
                raise faulty_step(self.backend, "a task that it was not given, or twice the same")
            job.request.running.discard(task)
            job.results[id(task)] = result
            if len(job.results) == len(job.tasks):
                self._advance(job, [job.results[id(each)] for each in job.tasks])
        return True

    def _feed(self) -> None:
        """Give the engine as many rows as it takes, one row of each request in turn."""
        room = self.backend.free
        if room < 1 and not self._running and self._requests:
            raise faulty(self.backend, "free", f"`free` is {room} while it has no task", "say how many it takes")
        idle = 0
        first = any(not r.plan.gives_way and (r.ready or not r.opened) for r in self._requests)
        # What is read in time must not wait long in the engine, or all of it is given up just before its turn; nor may
        # it wait until others have thought: it is added beyond what is free.
        timed = max(TIMED, (room + len(self._running)) // 8) - sum(job.request.timed for job in self._running.values())
        urgent = timed > 0 and any(request.timed for request in self._requests)
        while (room > 0 or (urgent and timed > 0)) and self._requests and idle < len(self._requests):
            request = self._requests[0]
            self._requests.rotate(-1)
            if (first and request.plan.gives_way) or (timed if request.timed else room) < 1:
                idle += 1
                continue
            if not request.ready and request.left:
                self._open(request)
            if request.over:
                idle = 0
                continue
            if not request.pairs and not request.left:
                self._finish(request, None)
                continue
            if not request.ready:
                idle += 1
                continue
            task = request.ready.popleft()
            request.running.add(task)
            self._running[task] = task.owner
            self.backend.add(task)
            self.tokens_read += len(task.ids)
            timed -= request.timed
            room -= 1
            idle = 0

    def _open(self, request: RerankRequest) -> None:
        """Start the next pairs of a request: their prompts, and the first tasks."""
        chosen: list[list[int]] = []
        most = CHUNK_IN_ORDER if request.plan.in_order else CHUNK
        while sum(map(len, chosen)) < most and (group := next(request.groups, None)):
            chosen.append(group)
        request.opened = not chosen
        try:
            pairs = [request.pairs[at] for group in chosen for at in group]
            form = self.backend.form
            prompts = iter(form.prompts(pairs, request.plan.room(form), self.long))
            for group in chosen:
                job = _Job(request, group, steps(self.backend.form, request.plan, [next(prompts) for _ in group]))
                self._advance(job, None)
        except Exception as error:
            self._finish(request, error)

    def _advance(self, job: _Job, results: list[Result] | None) -> None:
        request = job.request
        try:
            tasks = next(job.steps) if results is None else job.steps.send(results)
            while not tasks:  # a mode that had nothing to ask in this round
                tasks = job.steps.send([])
        except StopIteration as stop:
            self._judged(job, stop.value)
            return
        except Exception as error:
            self._finish(request, error)
            return
        job.tasks, job.results = tasks, {}
        for task in tasks:
            task.owner = job
        # What a pair still needs comes before pairs that have not begun: requests end sooner, and hold less.
        (request.ready.extend if results is None else request.ready.extendleft)(tasks)

    def _judged(self, job: _Job, opinions: list[RawJudgement]) -> None:
        request = job.request
        for at, opinion in zip(job.at, opinions, strict=True):
            request.left -= 1
            request.one(at, opinion)
        if request.left == 0 and not request.over:
            self._finish(request, None)

    def _finish(self, request: RerankRequest, error: BaseException | None) -> None:
        self.cancel(request)
        request.done(error)


def groups(pairs: Sequence[Pair], plan: JudgementPlan, by_query: bool = False) -> Iterator[list[int]]:
    """Which pairs are judged together, and in what order: a query's together for engines that cache what their
    prompts share, else the longest first, so that batches hold rows of like length; as given, where the plan wants."""
    if plan.in_order:
        return ([at] for at in range(len(pairs)))
    if plan.mode == "adaptive" or by_query:
        queries: dict[Any, list[int]] = {}
        for at, pair in enumerate(pairs):
            queries.setdefault((pair.query_id, pair.query, pair.instruction), []).append(at)
        if plan.mode == "adaptive":
            return iter(queries.values())
        return ([at] for rows in queries.values() for at in rows)
    order = sorted(range(len(pairs)), key=lambda at: -len(pairs[at].passage) - len(pairs[at].query))
    return ([at] for at in order)
