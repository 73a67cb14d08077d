"""A worker: sends requests, deals with their faults, and hands answers over as journal lines. Run by `teacher.actors`.

It touches no disk and remembers nothing: an answer counts only once the session has journalled it. A worker lives in
one asyncio loop, inside a Ray actor or alone (tests).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from pydantic import SecretStr

from distill.answers import JsonObject
from distill.answers.finish import FinishReason
from distill.errors import DistillError
from distill.plugins import PROGRAMMING, faulty, is_own, raised, shown
from distill.records import Answer, JournalEntry
from teacher.client import PROBE, PROBE_SAMPLING, Client, guess_prompt
from teacher.faults import Action, Fault, as_error, explained, from_exception
from teacher.journal import encode
from teacher.limits import EndpointLimits
from teacher.messages import PendingRequest, WireRequest, WorkerReport
from teacher.sources.base import Connection, Reply

THROTTLES, ANSWERS_OTHERS_S = 200, 60.0  # a request fails when it is refused so often while others are answered
LINGER_S, PATIENCE_S, GROUPS = 0.005, 0.5, 32  # a group: a 32nd of what may be in flight, or what came in 5 ms
RAISES = 8  # so often in a row the code of an own source may raise, once it has answered
LONGEST_BACKOFF_S = 60.0
BACKOFF_S = {"disconnected": 0.1, "broken_off": 0.1, "malformed": 0.1, "deadline": 0.1}  # nobody asked us to slow down
NO_OTHER_KEY = "its key was refused, and api_key_command gives no other"
USUAL_BACKOFF_S = 0.25  # doubled at each try; an endpoint in real trouble rests as a whole (limits.py)


class Worker:
    """Connections with their limits share the work: `attempts` a request, at most `concurrency` in flight.

    `stage` is the one on whose account the answers go. An error in the code of a source outside the project stops the
    worker: `exchange` raises PluginError once it has handed over what was answered.
    """

    def __init__(
        self,
        connections: Sequence[tuple[Connection, EndpointLimits]],
        attempts: int,
        concurrency: int,
        stage: str = "trace",
    ) -> None:
        self.places = list(connections)
        self.attempts, self.concurrency, self._stage = attempts, concurrency, stage
        self._raised: list[str] = []  # the requests at which its code has raised since it last answered
        self._waiting: deque[PendingRequest] = deque()
        self._delayed = 0
        self._out = WorkerReport()
        self._ready = asyncio.Event()
        self._usd = self._tokens = float("inf")
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._answered = self._reasoned = 0
        self._unjournalled, self._enough = 0, 1
        self._bug: BaseException | None = None

    async def exchange(
        self,
        requests: Sequence[WireRequest],
        usd: float = float("inf"),
        tokens: float = float("inf"),
        patience_s: float = PATIENCE_S,
    ) -> WorkerReport:
        """Take requests in, hand answers over, a small group at a time; waits at most `patience_s` for the first.

        A call says that the last report is journalled. What is not yet journalled counts as in flight: so no more
        than `concurrency` requests are ever lost with the driver, and none is sent after its death beyond those.
        No request starts once `usd` or `tokens` have been spent that were not handed over before this call.
        """
        self._waiting.extend(PendingRequest(*request) for request in requests)
        self._usd, self._tokens, self._unjournalled = usd, tokens, 0
        self._dispatch()
        if self.busy and not self._out.lines:
            await self._news(1, patience_s)
        if self.busy:
            await self._news(max(1, self.concurrency // GROUPS), LINGER_S)
        if self._bug is not None and not self._running and not self._out.lines:
            raise self._bug
        out, self._out = self._out, WorkerReport()
        self._usd, self._tokens = self._usd - out.usd, self._tokens - out.tokens
        self._unjournalled = len(out.done)
        out.in_flight = sum(limits.in_flight for _, limits in self.places)
        out.waiting = len(self._waiting) + self._delayed
        out.window = sum(int(limits.window) for _, limits in self.places if limits.dead is None)
        out.away_s = self._away() if self.busy else 0.0
        out.dead = {n: limits.dead for n, (_, limits) in enumerate(self.places) if limits.dead is not None}
        out.endpoints = len(self.places)
        out.answered, out.reasoned = self._answered, self._reasoned
        for number, (client, limits) in enumerate(self.places):
            if isinstance(client, Client) and client.endpoint.api_key_command and limits.dead is None:
                out.expired |= {number: client.key_digest} if client.expired else {}
                out.accepted |= {client.key_digest} if client.accepted else set()
        return out

    def renew(self, keys: Mapping[int, SecretStr | None]) -> None:
        """Go on with these keys where the last ones were refused; None where there is none to be had."""
        for number, key in keys.items():
            client, limits = self.places[number]
            if not limits.without_key or not isinstance(client, Client):
                continue
            limits.without_key = False
            if key is None:
                limits.dead = NO_OTHER_KEY
            else:
                client.renew(key.get_secret_value())

    async def _news(self, enough: int, seconds: float) -> None:
        """Wait until `enough` lines lie ready, or nothing is left to wait for."""
        if len(self._out.lines) < enough:
            self._enough = enough
            self._ready.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), seconds)

    def _away(self) -> float:
        since = [limits.failing_since for _, limits in self.places if limits.dead is None]
        failing = [moment for moment in since if moment is not None]
        return time.monotonic() - max(failing) if failing and len(failing) == len(since) else 0.0

    def _may_start(self) -> bool:
        open_now = len(self._running) + len(self._out.done) + self._unjournalled
        within_budget = self._out.usd < self._usd and self._out.tokens < self._tokens
        return self._bug is None and open_now < self.concurrency and within_budget

    @property
    def busy(self) -> bool:
        """Whether anything waits or is in flight."""
        return bool(self._waiting or self._delayed or self._running)

    def _dispatch(self) -> None:
        """Start whatever has room, wherever there is most of it."""
        while self._waiting and self._may_start():
            now = time.monotonic()
            waits = [(limits.wait(now), limits.load, n) for n, (_, limits) in enumerate(self.places)]
            free = [(load, n) for wait, load, n in waits if wait == 0]
            if not free:
                later = [wait for wait, _, _ in waits if wait is not None]
                if later and self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(min(later), self._wake)
                break
            client, limits = self.places[min(free)[1]]
            if limits.must_probe:
                limits.must_probe = False
                limits.rests_until = now + client.deadline_s  # nobody else until the probe is back
                limits.started(0)
                self._spawn(self._probe(client, limits))
                continue
            request = self._waiting.popleft()
            estimate = guess_prompt(request.messages)
            limits.started(estimate)
            self._spawn(self._attempt(request, client, limits, estimate))
        if not self.busy or len(self._out.lines) >= self._enough:
            self._ready.set()

    def _wake(self) -> None:
        self._timer = None
        self._dispatch()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = self._bug or error
            self._ready.set()
        self._dispatch()

    async def _attempt(
        self, request: PendingRequest, client: Connection, limits: EndpointLimits, estimate: int
    ) -> None:
        request.attempts += 1
        try:
            reply = await self._ask(client, request.messages, request.sampling, request.request_id)
        except Fault as fault:
            limits.in_flight -= 1
            self._fault(request, client, limits, fault)
            return
        limits.in_flight -= 1
        limits.answered(reply.latency_s, estimate, reply.prompt_tokens + reply.completion_tokens)
        if reply.empty and request.empties == 0:
            request.empties += 1
            self._out.faults["empty"] += 1
            self._bill(request.request_id, "empty", reply)
            self._waiting.append(request)
            return
        self._answered += 1
        self._reasoned += bool(reply.reasoning)
        self._deliver(request, reply.answer(request.request_id, client.model, client.host, request.sampling))

    async def _ask(
        self, client: Connection, messages: list[dict[str, str]], sampling: JsonObject, request_id: str
    ) -> Reply:
        """One answer. Raises Fault, for whatever an engine raises as well; PluginError for an error in an own source.

        What its code raises at one request only, or now and then, and is no error of programming, is the request's
        fault. An own source that does not answer within `deadline_s` is not waited for.
        """
        own = is_own(type(client))
        try:
            answer = client.ask(messages, sampling)
            reply = await (asyncio.wait_for(answer, client.deadline_s) if own else answer)
        except Exception as error:
            if own and isinstance(error, DistillError):
                raise
            if own and type(error).__module__ == "builtins" and not isinstance(error, OSError):
                fault = raised(error)
                self._raised.append(request_id)
                most = max(RAISES, self.attempts) if self._answered else 1
                if fault and (
                    isinstance(error, PROGRAMMING) or (len(self._raised) > most and len({*self._raised}) > 1)
                ):
                    raise fault from None
            raise from_exception(error, client.deadline_s, client.host) from None
        if own:
            _check_reply(client, reply)
            self._raised.clear()
        return reply

    async def _probe(self, client: Connection, limits: EndpointLimits) -> None:
        try:
            reply = await self._ask(client, PROBE, PROBE_SAMPLING, "probe")
        except Fault as fault:
            limits.rests_until = 0.0
            if fault.kind == "unauthorized" and self._renews(client, limits):
                limits.must_probe = True
            elif fault.action is Action.ENDPOINT:
                limits.dead = _why_disabled(client, fault)
            else:
                limits.failed(time.monotonic())
        else:
            limits.rests_until = 0.0
            limits.answered(reply.latency_s, 0, reply.prompt_tokens + reply.completion_tokens)
            self._bill("probe", "probe", reply)
        finally:
            limits.in_flight -= 1

    def _fault(self, request: PendingRequest, client: Connection, limits: EndpointLimits, fault: Fault) -> None:
        now = time.monotonic()
        self._out.faults[fault.kind] += 1
        prompt, completion, usd = client.billed(fault, request.messages)
        if prompt and fault.action is not Action.ROW:
            lost = Reply("", "", "error", prompt, completion, usd, estimated=True, unpriced=_unpriced(client))
            self._bill(request.request_id, fault.kind, lost)
        if fault.kind == "unauthorized" and self._renews(client, limits):
            request.attempts -= 1
            self._waiting.appendleft(request)
        elif fault.action is Action.ROW:
            limits.unanswerable()
            self._fail(request, client, fault, prompt, completion, usd)
        elif fault.action is Action.ENDPOINT:
            limits.dead = _why_disabled(client, fault)
            request.attempts -= 1
            self._waiting.appendleft(request)
        elif fault.action is Action.THROTTLED:
            limits.refused(fault.wait_s, now)
            request.attempts -= 1
            request.throttles += 1
            if request.throttles >= THROTTLES and now - (limits.failing_since or now) < ANSWERS_OTHERS_S:
                self._fail(request, client, fault, 0, 0, 0.0)
            else:
                self._later(request, fault, request.throttles)
        elif limits.failed(now):
            request.attempts -= 1  # the endpoint is away: that is not this request's fault
            self._waiting.append(request)
        elif request.attempts >= self.attempts:
            self._fail(request, client, fault, 0, 0, 0.0)
        else:
            self._later(request, fault, request.attempts)

    def _renews(self, client: Connection, limits: EndpointLimits) -> bool:
        """Whether a refused key can be renewed; until then the endpoint is asked nothing."""
        if not (isinstance(client, Client) and client.endpoint.api_key_command):
            return False
        limits.without_key = client.expired
        if client.expired:
            self._ready.set()
        return True

    def _later(self, request: PendingRequest, fault: Fault, tries: int) -> None:
        first = BACKOFF_S.get(fault.kind, USUAL_BACKOFF_S)
        backoff = min(LONGEST_BACKOFF_S, first * 2 ** min(tries - 1, 10)) * random.uniform(0.5, 1.5)
        delay = backoff if fault.wait_s is None else min(fault.wait_s, 3600.0) * random.uniform(1.0, 1.1)
        self._delayed += 1

        def back() -> None:
            self._delayed -= 1
            self._waiting.appendleft(request)
            self._dispatch()

        asyncio.get_running_loop().call_later(delay, back)

    def _fail(
        self, request: PendingRequest, client: Connection, fault: Fault, prompt: int, completion: int, usd: float
    ) -> None:
        unpriced = bool(prompt) and _unpriced(client)
        failed = Reply("", "", "error", prompt, completion, usd, estimated=bool(prompt), unpriced=unpriced)
        answer = failed.answer(request.request_id, client.model, client.host, request.sampling)
        self._deliver(request, replace(answer, error=as_error(fault, request.attempts)))

    def _deliver(self, request: PendingRequest, answer: Answer) -> None:
        self._journal(JournalEntry(answer, None, self._stage, request.purpose, request.attempts, time.time()))
        self._out.done.append(request.request_id)

    def _bill(self, request_id: str, kind: str, reply: Reply) -> None:
        """Journal what was paid for and could not be used: tokens and dollars, without what was said."""
        billed = Answer(
            request_id,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost_usd=reply.cost_usd,
            estimated=reply.estimated,
            cached_tokens=reply.cached_tokens,
            reasoning_tokens=reply.reasoning_tokens,
            unpriced=reply.unpriced,
        )
        self._journal(JournalEntry(billed, kind, self._stage, time=time.time()))

    def _journal(self, entry: JournalEntry) -> None:
        self._out.usd += entry.answer.cost_usd
        self._out.tokens += entry.answer.prompt_tokens + entry.answer.completion_tokens
        self._out.lines.append(encode(entry))


def _why_disabled(client: Connection, fault: Fault) -> str:
    """The fault that disables an endpoint, with the remedy; of a refused key with the name of its variable."""
    if not isinstance(client, Client):
        return explained(fault, client.model)
    name = client.endpoint.api_key_env or client.endpoint.api_key_command or ""
    if fault.kind == "unauthorized" and client.accepted and client.endpoint.api_key_env:
        return (
            f"{fault}; the key in {name} worked before and is refused now: put a valid one there and run the same "
            "command again (api_key_command renews keys that expire)"
        )
    return explained(fault, client.model, name)


def _unpriced(client: Connection) -> bool:
    return isinstance(client, Client) and client.endpoint.price is None


def _check_reply(source: Connection, reply: object) -> None:
    """Raise PluginError for what is no Reply of two texts, an end that is known, and numbers from 0 on."""
    remedy = "return Reply(reasoning, content), two texts, of teacher.sources.base"
    if not isinstance(reply, Reply):
        raise faulty(source, "ask", f"`ask` returned {shown(reply)}", remedy)
    for name, text in (("reasoning", reply.reasoning), ("content", reply.content)):
        if not isinstance(text, str):
            raise faulty(source, "ask", f"the Reply's {name} is {shown(text)}", remedy)
    if reply.finish_reason not in (known := get_args(FinishReason)):
        fault = f"the Reply's finish_reason is {reply.finish_reason!r}"
        raise faulty(source, "ask", fault, f"it is one of {', '.join(known)}")
    numbers = reply.prompt_tokens, reply.completion_tokens, reply.cost_usd, reply.latency_s
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        fault = f"the Reply's prompt_tokens, completion_tokens, cost_usd and latency_s are {numbers}"
        raise faulty(source, "ask", fault, "give numbers from 0 on, or leave them out")
