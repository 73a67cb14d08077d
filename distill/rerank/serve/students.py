"""The students of one server: each with its engine's thread, found by name, and replaced while requests go on.

For the routes, and for `distill serve`, which loads a student anew on SIGHUP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from distill.records import Judgement, Pair
from distill.rerank.fusion import Fusion
from distill.rerank.modes import JudgementPlan, TimedPlans
from distill.rerank.serve.engine_thread import Engine, EngineThread
from distill.rerank.serve.faults import Refused
from distill.rerank.serve.page import ANY, Example
from distill.rerank.serve.schemas import Asked
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.timed import Pace, judged_within

Cut = Callable[[Sequence[Pair], int | None, int | None], list[Pair]]
"""Pairs, the most tokens of a passage and of a whole prompt in; pairs whose passages are cut so far out."""
LOOK_S = 0.05


def _nothing() -> None:
    """What there is to close of an engine that holds nothing."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the engine, its name and mode, how a pair is judged where its reasoning is wanted, and how its
    margins are fused with first-stage scores, where that was chosen. `cut` shortens passages to a number of tokens, as
    `Reranker.shortened`; `timed` says how requests with a budget are judged, as `Reranker.timed_plans`; `context` is in
    tokens; `calibrated` says whether scores are; `close` gives the engine's memory back; `example` is
    what the page is filled with; `writes` says whether it can give reasons."""

    engine: Engine
    name: str
    mode: str
    explain_plan: JudgementPlan | None = None
    fusion: Fusion | None = None
    cut: Cut | None = None
    timed: TimedPlans | None = None
    context: int | None = None
    calibrated: bool = False
    close: Callable[[], None] = _nothing
    example: Example = ANY
    writes: bool = True


class Student:
    """A student that is served, and the thread of its engine."""

    def __init__(self, served: Served, settings: ServeSettings) -> None:
        self.served, self._settings = served, settings
        self.thread = EngineThread(served.engine, settings.max_waiting, settings.client_share)
        self._pace = Pace()
        self.requests = 0  # that hold it

    def judge(
        self, asked: Asked, pairs: list[Pair], client: str, plan: JudgementPlan | None, began: float
    ) -> Awaitable[list[Judgement]]:
        """One judgement a pair: in its time where the request has a budget; directly where the server is busy and the
        student would think; else by `plan`, or as it is served."""
        plans, settings = self.served.timed, self._settings
        if plan is None and plans is not None:
            if asked.budget_ms is not None:
                return judged_within(self.thread, plans, pairs, client, began + asked.budget_ms / 1000, self._pace)
            busy = self.thread.waiting + len(pairs) > settings.shed_share * settings.max_waiting
            if plans.think is not None and busy:
                plan = plans.direct
        return self.thread.judge(pairs, client, plan)

    def stop(self) -> None:
        """End its thread, and give its memory back; requests still open fail."""
        self.thread.stop()
        self.served.close()


class Students:
    """Students by name; the first answers requests that name none."""

    def __init__(self, served: Sequence[Served], settings: ServeSettings) -> None:
        self._settings = settings
        self._students = {each.name: Student(each, settings) for each in served}
        self._retiring: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Student]:
        return iter(self._students.values())

    @property
    def first(self) -> Student:
        """The one that requests without a name are for."""
        return next(iter(self))

    @property
    def names(self) -> list[str]:
        """What requests may call them."""
        return list(self._students)

    @property
    def waiting(self) -> int:
        """Pairs of all requests that are not answered yet."""
        return sum(student.thread.waiting for student in self)

    @property
    def alive(self) -> bool:
        """Whether all of them can judge."""
        return all(student.thread.alive for student in self)

    def start(self) -> None:
        """Start their threads."""
        for student in self:
            student.thread.start()

    def stop(self) -> None:
        """End their threads."""
        for student in self:
            student.stop()

    @contextmanager
    def named(self, name: str | None) -> Iterator[Student]:
        """The student of that name, which stays until the block ends, even where another has taken its place. Raises
        Refused (404)."""
        student = self.first if name is None else self._students.get(name)
        if student is None:
            names = " and ".join(repr(known) for known in self._students)
            raise Refused(404, f"no model {name!r} is served here; this is {names}")
        student.requests += 1
        try:
            yield student
        finally:
            student.requests -= 1

    def replace(self, served: Served) -> None:
        """Let this student answer from now on in the place of the one of its name, which ends once it has answered what
        it was asked. Called in the event loop."""
        old, self._students[served.name] = self._students[served.name], Student(served, self._settings)
        self._students[served.name].thread.start()
        task = asyncio.get_running_loop().create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, student: Student) -> None:
        end = monotonic() + self._settings.timeout_s + self._settings.drain_s
        while student.requests and monotonic() < end:
            await asyncio.sleep(LOOK_S)
        await asyncio.to_thread(student.stop)
