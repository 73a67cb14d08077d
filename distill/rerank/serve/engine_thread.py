"""Between the event loop and the engine: one thread owns the engine, requests of all clients run in it together.

The loop's side (`judge`) admits, waits and gives up; the thread's side feeds `Requests` and steps it. They meet in a
queue one way and in `call_soon_threadsafe` the other. A request that is given up (client gone, deadline) leaves the
engine at its next step. Not covered: several engines, priorities.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from distill.errors import DistillError
from distill.records import Judgement, Pair
from distill.tables import counted

RETRY_AFTER_S = 2
FAILURES = 3  # so many failed steps in a row, and the engine is given up


class Engine(Protocol):
    """What the thread needs of `distill.rerank.reranker.Requests`."""

    @property
    def running(self) -> int: ...
    def submit(
        self,
        pairs: Sequence[Pair],
        done: Callable[[BaseException | None], None],
        one: Callable[[int, Judgement], None] | None = None,
        plan: Any = None,
    ) -> Any: ...
    def cancel(self, ticket: Any) -> None: ...
    def clear(self) -> None: ...
    def step(self) -> bool: ...


class Busy(DistillError):
    """The queue is full, or one client holds its share of it."""


class EngineFailed(DistillError):
    """The engine broke while it judged; the request may be sent again."""


class _Job:
    """A request inside: whom to tell, and what was found."""

    def __init__(self, pairs: Sequence[Pair], plan: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.pairs, self.plan, self.loop = pairs, plan, loop
        self.future: asyncio.Future[list[Judgement]] = loop.create_future()
        self.found: list[Judgement | None] = [None] * len(pairs)

    def one(self, at: int, judgement: Judgement) -> None:
        self.found[at] = judgement

    def done(self, error: BaseException | None) -> None:
        """Called in the engine's thread."""
        if error is not None and not isinstance(error, DistillError):
            error = EngineFailed(f"the engine failed ({type(error).__name__}: {error})")
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: BaseException | None) -> None:
        if self.future.done():  # given up meanwhile
            return
        whole = [each for each in self.found if each is not None]
        if error is None and len(whole) != len(self.pairs):
            error = EngineFailed(f"not judged: {len(self.pairs) - len(whole)} of {counted(len(self.pairs), 'pair')}")
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(whole)


class EngineThread:
    """The one engine of a server, in a thread of its own."""

    def __init__(self, engine: Engine, max_waiting: int = 5000, client_share: float = 0.5) -> None:
        self._engine, self.max_waiting, self.client_share = engine, max_waiting, client_share
        self._orders: queue.SimpleQueue[tuple[str, _Job | None]] = queue.SimpleQueue()
        self._tickets: dict[_Job, Any] = {}
        self._held: Counter[str] = Counter()
        self.cancelled = 0
        self._failures = 0
        self._dead = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; requests still open fail."""
        self._orders.put(("stop", None))
        self._thread.join(30)

    @property
    def alive(self) -> bool:
        """Whether requests can be judged."""
        return self._thread.is_alive() and not self._dead

    @property
    def waiting(self) -> int:
        """Pairs of all requests that are not answered yet."""
        return sum(self._held.values())

    @property
    def running(self) -> int:
        """Rows that are with the engine."""
        return self._engine.running

    async def judge(self, pairs: Sequence[Pair], client: str = "", plan: Any = None) -> list[Judgement]:
        """One judgement a pair, in the order given. To give up, cancel the task.

        Raises Busy where the queue has no room, EngineFailed where the engine broke, InputError for a pair that cannot
        be judged.
        """
        if not pairs:
            return []
        with self._admitted(pairs, client, plan) as job:
            return await job.future

    async def judge_until(
        self, pairs: Sequence[Pair], client: str, plan: Any, seconds: float
    ) -> list[Judgement | None]:
        """What is judged within so many seconds, in the order given, None for the others; raises as `judge`."""
        if not pairs or seconds <= 0:
            return [None] * len(pairs)
        with self._admitted(pairs, client, plan) as job:
            await asyncio.wait({job.future}, timeout=seconds)
            return list(job.future.result()) if job.future.done() else list(job.found)

    @contextlib.contextmanager
    def _admitted(self, pairs: Sequence[Pair], client: str, plan: Any) -> Iterator[_Job]:
        """An order for the pairs, given up where the block ends before it is done."""
        if not self.alive:
            raise EngineFailed("the engine has stopped; the server has to be started again")
        others = self.waiting - self._held[client]
        if self.waiting + len(pairs) > self.max_waiting:
            raise Busy(
                f"waiting: {counted(self.waiting, 'pair')}, and there is room for {self.max_waiting}; try again shortly"
            )
        if others and self._held[client] + len(pairs) > self.client_share * self.max_waiting:
            raise Busy(
                f"waiting: {counted(self._held[client], 'pair')} of this client, and others too; try again shortly"
            )
        self._held[client] += len(pairs)
        job = _Job(pairs, plan, asyncio.get_running_loop())
        self._orders.put(("judge", job))
        try:
            if self._dead:  # it died between the look above and the order, which nobody will take
                raise EngineFailed("the engine has stopped; the server has to be started again")
            yield job
        finally:
            if not job.future.done() or job.future.cancelled():
                self.cancelled += 1
                job.future.cancel()
                self._orders.put(("cancel", job))
            self._held[client] -= len(pairs)
            if self._held[client] <= 0:
                del self._held[client]

    # --- the engine's thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        going = False
        while True:
            try:
                while True:  # all orders that are there; wait for one only where there is nothing else to do
                    word, job = self._orders.get(block=not going)
                    if word == "stop":
                        self._dead = True
                        self._fail(EngineFailed("the server is stopping"))
                        return
                    assert job is not None
                    self._judge(job) if word == "judge" else self._cancel(job)
                    going = True
            except queue.Empty:
                pass
            try:
                going = self._engine.step()
                self._failures = 0
            except Exception as error:
                self._failures += 1
                self._dead = self._failures >= FAILURES
                self._engine.clear()
                self._fail(EngineFailed(f"the engine failed ({type(error).__name__}: {error})"))
                if self._dead:
                    return
                going = False

    def _judge(self, job: _Job) -> None:
        def done(error: BaseException | None) -> None:
            self._tickets.pop(job, None)
            job.done(error)

        self._tickets[job] = None
        try:
            ticket = self._engine.submit(job.pairs, done, job.one, job.plan)
        except Exception as error:
            done(error)
            return
        if job in self._tickets:
            self._tickets[job] = ticket

    def _cancel(self, job: _Job) -> None:
        if job in self._tickets:
            self._engine.cancel(self._tickets.pop(job))

    def _fail(self, error: BaseException) -> None:
        while True:
            try:
                word, job = self._orders.get_nowait()
            except queue.Empty:
                break
            if word == "judge" and job is not None:
                self._tickets[job] = None
        for job in list(self._tickets):
            del self._tickets[job]
            job.done(error)
