"""The driver's side of asking: requests in, journalled answers out, within the budget. The journal's one writer."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Protocol

from distill.errors import EndpointError, Stopped
from distill.processes import in_background
from distill.records import Answer, Request
from distill.store import lease
from teacher.actors import ActorPool
from teacher.index import TRACE, Index, Spent, answer_of
from teacher.journal import Journal
from teacher.messages import Call, WireRequest, WorkerReport
from teacher.preflight import demand_reasoning, preflight
from teacher.settings import Endpoint, StageName, TeacherSettings

PULL = 2_000


class Watcher(Protocol):
    """Who is told how it goes; `teacher.progress` shows it."""

    def begin(self, endpoints: list[Endpoint], asking: Session) -> None: ...
    def turn(self, asking: Session) -> None: ...
    def end(self, asking: Session) -> None: ...
    def say(self, text: str) -> None: ...


class Session:
    """A session with the teacher over one journal; a context manager.

    `folder` is where the journal lies (`folder/journal`), unless the settings name another place. `endpoints` stands
    in for the settings' own (the embedded teacher's port), which changes no request's id. With `retry_failed` what
    failed for good is asked again. `stage` says on whose account it goes. Raises RunFolderError while another session
    has the journal.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        folder: Path,
        *,
        endpoints: list[Endpoint] | None = None,
        retry_failed: bool = False,
        watcher: Watcher | None = None,
        stage: StageName = TRACE,
    ) -> None:
        self.settings, self.folder, self.stage = settings, folder, stage
        self.endpoints = list(settings.endpoints if endpoints is None else endpoints)
        self.retry_failed = retry_failed
        self._watcher = watcher
        self.crew: ActorPool | None = None
        self._held = ExitStack()  # the journal's lease, and before it the workers
        self._held.enter_context(lease(folder))
        self._held.callback(self._dismiss)
        self._scratch = folder / ".index.sqlite"
        try:
            self.journal = Journal(settings.journal or folder / "journal", folder / ".journal")
            self.index = Index(self.journal, self._scratch)
        except BaseException:
            self._held.close()
            raise
        self.asked_now = self.known = self.answered_now = self.failed_now = 0
        self.in_flight = self.window = self.tokens_now = 0
        self.faults: Counter[str] = Counter()
        self.started: float | None = None
        self._calls: list[Call] = []
        self._waiting: deque[WireRequest] = deque()
        self._open: set[str] = set()  # ids that wait or are with a worker
        self._states: dict[int, WorkerReport] = {}
        self._warned: set[int] = set()
        self._told: set[int] = set()  # actors that know that the budget is spent, and
        self._closed: set[int] = set()  # those of them with nothing in flight

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._watcher and self.crew:
                self._watcher.end(self)
            self.journal.close()
        finally:
            self.index.close()
            self._scratch.unlink(missing_ok=True)
            self._held.close()

    def ask(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in order of arrival, journalled before it is yielded (`records.Ask`)."""
        for request_id in self.finished(requests):
            line = self.index.line(request_id)
            assert line is not None
            yield answer_of(line, self.settings.teacher_name)

    def finished(self, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """The id of each request once it is answered or has failed for good, those of earlier sessions included.

        A None among the requests says that there is none just now. With `reasoning`, answers are expected to hold
        some. Several of these may be under way at once, one within another; what the one takes in for the other waits
        there. Raises EndpointError (nobody to ask; no reasoning at all), Stopped (budget reached; teacher away).
        """
        call = Call()
        self._calls.append(call)
        try:
            yield from self._answered(call, iter(requests), reasoning)
        finally:
            self._calls.remove(call)
            self._drop({key for key in call.copies if not any(key in other.copies for other in self._calls)})

    def _answered(self, call: Call, source: Iterator[Request | None], reasoning: bool) -> Iterator[str]:
        exhausted = False
        while True:
            room = (self.crew.room if self.crew else 2 * self.settings.concurrency) * self.settings.workers
            for _ in range(PULL):
                if exhausted or len(call.copies) >= room + PULL // 2:
                    break
                try:
                    request = next(source)
                except StopIteration:
                    exhausted = True
                    break
                if request is None:
                    break
                key = request.request_id
                if key in call.copies:
                    call.copies[key] += 1
                elif self.index.has(key, self.retry_failed):
                    self.known += 1
                    yield key
                else:
                    call.copies[key] = 1
                    if key not in self._open:
                        self._open.add(key)
                        self._waiting.append((key, request.messages, request.sampling, request.purpose))
            if exhausted and not call.copies:
                return
            if call.copies and not call.news:
                self._turn(reasoning)
            while call.news:
                key = call.news.popleft()
                for _ in range(call.copies.pop(key)):
                    yield key

    def _drop(self, unwanted: set[str]) -> None:
        """Forget requests that nobody waits for any more, as far as they have not been handed out."""
        if unwanted:
            self._open -= {sheet[0] for sheet in self._waiting if sheet[0] in unwanted}
            self._waiting = deque(sheet for sheet in self._waiting if sheet[0] not in unwanted)

    def _turn(self, reasoning: bool) -> None:
        """Hand out work, take in what has come."""
        crew = self.crew or self._assemble()
        self._hand(crew)
        deliveries, left = crew.collect(0.25)
        self._waiting.extendleft(left)
        self.asked_now -= len(left)
        for number, delivery in deliveries:
            self._states[number] = delivery
            if number in self._told and delivery.in_flight == 0:
                self._closed.add(number)
            self.take(delivery.lines)
            self.faults.update(delivery.faults)
            for key in delivery.done:
                self._open.discard(key)
                for call in self._calls:
                    if key in call.copies:
                        call.news.append(key)
        self._hand(crew)  # before anything else: it tells the actor that its answers are journalled
        self.journal.tick()
        self.in_flight = sum(state.in_flight for state in self._states.values())
        self.window = sum(state.window for state in self._states.values())
        self._check(crew, reasoning)
        if self._watcher:
            self._watcher.turn(self)

    def _hand(self, crew: ActorPool) -> None:
        usd, tokens = self.left()
        for number in crew.idle():
            sheets: list[WireRequest] = []
            if number not in crew.ready:
                pass
            elif usd > 0 and tokens > 0:
                free = crew.room - len(crew.held[number])
                sheets = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            else:
                self._told.add(number)
            self.asked_now += len(sheets)
            crew.hand(number, sheets, usd / len(crew.actors), tokens / len(crew.actors))

    def take(self, lines: Sequence[bytes]) -> None:
        """Journal lines, and count them."""
        if not lines:
            return
        if self.stage != TRACE:
            mark = f',"stage":{json.dumps(self.stage)}}}'.encode()
            lines = [line[:-1] + mark for line in lines]
        for place, raw in zip(self.journal.append(lines), lines, strict=True):
            line = json.loads(raw)
            self.index.add(place, line)
            self.tokens_now += line["prompt_tokens"] + line["completion_tokens"]
            if "id" in line:
                self.answered_now += line.get("error") is None
                self.failed_now += line.get("error") is not None

    def told(self, text: str) -> None:
        """Let the watcher say something."""
        if self._watcher:
            self._watcher.say(text)

    def left(self) -> tuple[float, float]:
        """Dollars and tokens that may still be spent: of the run's budget, or of the stage's where that is less."""
        return (min(left for left, *_ in self._purses("usd")), min(left for left, *_ in self._purses("tokens")))

    def _purses(self, unit: str) -> list[tuple[float, str, float | None, Spent]]:
        """(what is left, the setting's key, its value, what was billed) for the run and for the stage."""
        own = self.settings.budgets.get(self.stage)
        found = [
            (f"teacher.budget_{unit}", getattr(self.settings, f"budget_{unit}"), self.index.spent()),
            (f"teacher.budgets.{self.stage}.{unit}", getattr(own, unit, None), self.index.spent(self.stage)),
        ]
        return [(inf if most is None else most - getattr(spent, unit), key, most, spent) for key, most, spent in found]

    def _check(self, crew: ActorPool, reasoning: bool) -> None:
        states = [state for number, state in self._states.items() if number in crew.ready]
        if self._closed and self._closed >= crew.ready:
            self.journal.tick(force=True)
            raise self._budget_reached()
        for state in states:
            if len(state.dead) == state.endpoints:
                raise Stopped(
                    f"teacher: no endpoint is left ({'; '.join(state.dead.values())}); nothing is lost, run again"
                )
            for number, why in state.dead.items():
                if number not in self._warned:
                    self._warned.add(number)
                    self.faults[f"teacher.endpoints.{number} ({self.endpoints[number].host}) put out: {why}"] += 1
        if not states and time.monotonic() - (self.started or 0) > max(60.0, self.settings.give_up_after_s):
            raise Stopped(
                f"teacher: Ray has placed no worker for {time.monotonic() - (self.started or 0):.0f} s; each needs "
                f"{self.settings.actor.model_dump(exclude_defaults=False)} (teacher.actor); nothing is lost"
            )
        away = [state.away_s for state in states]
        if away and min(away) > self.settings.give_up_after_s:
            common = ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common(3))
            raise Stopped(
                f"teacher: no endpoint has answered for {min(away):.0f} s (teacher.give_up_after_s; {common}); "
                "nothing is lost, run again when it is back"
            )
        if reasoning:
            demand_reasoning(
                self.settings, sum(each.answered for each in states), sum(each.reasoned for each in states)
            )

    def _assemble(self) -> ActorPool:
        if min(self.left()) <= 0:
            raise self._budget_reached()
        keys = [endpoint.secret(number) for number, endpoint in enumerate(self.endpoints)]
        if self._watcher:
            self._watcher.begin(self.endpoints, self)
        # Ray takes seconds to start: the preflight goes on beside it.
        asked = in_background(lambda: preflight(self.endpoints, keys, self.settings.deadline_s))
        self.crew = ActorPool(self.settings, self.endpoints, keys)
        try:
            self.take(asked())
        except EndpointError:
            self._dismiss()
            raise
        self.started = time.monotonic()
        return self.crew

    def _budget_reached(self) -> Stopped:
        purses = [*self._purses("usd"), *self._purses("tokens")]
        _, key, most, spent = min(purses, key=lambda purse: purse[0] > 0)
        return Stopped(
            f"{key} {most:,} is reached: {spent.usd:,.2f} USD and {spent.tokens:,} tokens were billed; "
            "raise it and run again, nothing is asked twice"
        )

    def _dismiss(self) -> None:
        if self.crew is not None:
            self.crew.close()
            self.crew = None
