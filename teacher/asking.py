"""The driver's side of asking: requests in, journalled answers out, within the budget. The journal's one writer."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pydantic import SecretStr

from distill.config import secret
from distill.errors import EndpointError, Stopped
from distill.records import Answer, Request
from teacher.crew import Crew, Sheet
from teacher.index import Index
from teacher.journal import Journal
from teacher.settings import Endpoint, TeacherSettings
from teacher.slips import Delivery

PULL = 2_000
ENOUGH_TO_JUDGE = 20


class Watcher(Protocol):
    """Who is told how it goes; `teacher.progress` shows it."""

    def begin(self, endpoints: list[Endpoint], asking: Asking) -> None: ...
    def turn(self, asking: Asking) -> None: ...
    def end(self, asking: Asking) -> None: ...
    def say(self, text: str) -> None: ...


class Asking:
    """A session with the teacher over one journal; a context manager.

    `folder` is where the journal lies (`folder/journal`), unless the settings name another place. `endpoints` stands
    in for the settings' own (the embedded teacher's port), which changes no request's id. With `retry_failed` what
    failed for good is asked again.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        folder: Path,
        *,
        endpoints: list[Endpoint] | None = None,
        retry_failed: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        self.settings, self.folder = settings, folder
        self.endpoints = list(settings.endpoints if endpoints is None else endpoints)
        self.retry_failed = retry_failed
        self._watcher = watcher
        folder.mkdir(parents=True, exist_ok=True)
        self._scratch = folder / ".index.sqlite"
        self.journal = Journal(settings.journal or folder / "journal", folder / ".journal")
        self.index = Index(self.journal, self._scratch)
        self.asked_now = self.known = self.answered_now = self.failed_now = 0
        self.in_flight = self.window = self.tokens_now = 0
        self.faults: Counter[str] = Counter()
        self.started: float | None = None
        self.crew: Crew | None = None
        self._states: dict[int, Delivery] = {}
        self._warned: set[int] = set()
        self._told: set[int] = set()  # actors that know that the budget is spent, and
        self._closed: set[int] = set()  # those of them with nothing in flight

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._watcher and self.crew:
                self._watcher.end(self)
            self.journal.close()
        finally:
            self.index.close()
            self._scratch.unlink(missing_ok=True)
            self._dismiss()

    def ask(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in order of arrival, journalled before it is yielded (`records.Ask`)."""
        for request_id in self.finished(requests):
            line = self.index.line(request_id)
            assert line is not None
            yield answer_of(line, self.settings.teacher_name)

    def finished(self, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """The id of each request once it is answered or has failed for good, those of earlier sessions included.

        A None among the requests says that there is none just now. With `reasoning`, answers are expected to hold
        some. Raises EndpointError (nobody to ask; no reasoning at all), Stopped (budget reached; teacher away).
        """
        source = iter(requests)
        waiting: deque[Sheet] = deque()
        copies: Counter[str] = Counter()
        exhausted = False
        while True:
            room = (self.crew.room if self.crew else 2 * self.settings.concurrency) * self.settings.workers
            for _ in range(PULL):
                if exhausted or len(copies) >= room + PULL // 2:
                    break
                try:
                    request = next(source)
                except StopIteration:
                    exhausted = True
                    break
                if request is None:
                    break
                if request.request_id in copies:
                    copies[request.request_id] += 1
                elif self.index.has(request.request_id, self.retry_failed):
                    self.known += 1
                    yield request.request_id
                else:
                    copies[request.request_id] = 1
                    waiting.append((request.request_id, request.messages, request.sampling))
            if not copies:
                if exhausted:
                    break
                continue
            for request_id in self._turn(waiting, reasoning):
                for _ in range(copies.pop(request_id, 0)):
                    yield request_id

    def _turn(self, waiting: deque[Sheet], reasoning: bool) -> list[str]:
        """Hand out work, take in what has come; returns the ids that are done with."""
        crew = self.crew or self._assemble()
        self._hand(crew, waiting)
        deliveries, left = crew.collect(0.25)
        waiting.extendleft(left)
        self.asked_now -= len(left)
        done: list[str] = []
        for number, delivery in deliveries:
            self._states[number] = delivery
            if number in self._told and delivery.in_flight == 0:
                self._closed.add(number)
            self.take(delivery.lines)
            self.faults.update(delivery.faults)
            done += delivery.done
        self._hand(crew, waiting)  # before anything else: it tells the actor that its answers are journalled
        self.journal.tick()
        self.in_flight = sum(state.in_flight for state in self._states.values())
        self.window = sum(state.window for state in self._states.values())
        self._check(crew, reasoning)
        if self._watcher:
            self._watcher.turn(self)
        return done

    def _hand(self, crew: Crew, waiting: deque[Sheet]) -> None:
        usd, tokens = self.left()
        for number in crew.idle():
            sheets: list[Sheet] = []
            if number not in crew.ready:
                pass
            elif usd > 0 and tokens > 0:
                free = crew.room - len(crew.held[number])
                sheets = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            else:
                self._told.add(number)
            self.asked_now += len(sheets)
            crew.hand(number, sheets, usd / len(crew.actors), tokens / len(crew.actors))

    def take(self, lines: Sequence[bytes]) -> None:
        """Journal lines, and count them."""
        if not lines:
            return
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
        """Dollars and tokens that may still be spent."""
        usd, tokens = self.settings.budget_usd, self.settings.budget_tokens
        return (
            float("inf") if usd is None else usd - self.index.spent_usd,
            float("inf") if tokens is None else tokens - self.index.spent_tokens,
        )

    def _check(self, crew: Crew, reasoning: bool) -> None:
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
        if reasoning and self.settings.require_reasoning:
            answered = sum(state.answered for state in states)
            if answered >= ENOUGH_TO_JUDGE and not any(state.reasoned for state in states):
                raise EndpointError(
                    f"teacher: the first {answered} answers hold no reasoning (no reasoning, reasoning_content or "
                    "<think>); switch it on at the server (vLLM: --reasoning-parser), choose a model that thinks, or "
                    "set teacher.require_reasoning: false"
                )

    def _assemble(self) -> Crew:
        from teacher.preflight import preflight

        if min(self.left()) <= 0:
            raise self._budget_reached()
        keys = [secret_of(endpoint, number) for number, endpoint in enumerate(self.endpoints)]
        if self._watcher:
            self._watcher.begin(self.endpoints, self)
        self.take(preflight(self.endpoints, keys, self.settings.deadline_s))
        self.crew = Crew(self.settings, self.endpoints, keys)
        self.started = time.monotonic()
        return self.crew

    def _budget_reached(self) -> Stopped:
        key = "budget_usd" if self.left()[0] <= 0 else "budget_tokens"
        return Stopped(
            f"teacher.{key} {getattr(self.settings, key):,} is reached: {self.index.spent_usd:,.2f} USD and "
            f"{self.index.spent_tokens:,} tokens were billed; raise it and run again, nothing is asked twice"
        )

    def _dismiss(self) -> None:
        if self.crew is not None:
            self.crew.close()
            self.crew = None


def secret_of(endpoint: Endpoint, number: int) -> SecretStr:
    """An endpoint's key from the environment. Raises ConfigError that names the variable."""
    if endpoint.api_key_env is None:
        return SecretStr("")
    return SecretStr(secret(endpoint.api_key_env, f"teacher.endpoints.{number}.api_key_env"))


def answer_of(line: dict[str, Any], name: str) -> Answer:
    """A journal line as an Answer."""
    return Answer(
        line["id"],
        line.get("reasoning", ""),
        line.get("content", ""),
        line.get("finish_reason", "error" if line.get("error") else "stop"),
        line["prompt_tokens"],
        line["completion_tokens"],
        line["cost_usd"],
        line.get("latency_s", 0.0),
        {"name": name, "model": line.get("model"), "endpoint": line.get("host"), "sampling": line.get("sampling")},
        line.get("error"),
        line.get("estimated", False),
    )
