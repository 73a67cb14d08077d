"""A worker's desk: requests come in, answers go out as journal lines; between them, faults are dealt with.

No disk is touched here and nothing is remembered: what leaves the desk counts only once the driver has journalled it.
The desk runs in one asyncio loop, inside a Ray actor (`crew.py`) or alone (tests).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from teacher.client import PROBE, PROBE_SAMPLING, Client, Reply, guess_prompt
from teacher.faults import Action, Fault, as_error
from teacher.limits import EndpointLimits
from teacher.messages import PendingRequest, WireRequest, WorkerReport

THROTTLES = 200
LINGER_S, PATIENCE_S, GROUPS = 0.005, 0.5, 32  # a group: a 32nd of what may be in flight, or what came in 5 ms
LONGEST_BACKOFF_S = 60.0
BACKOFF_S = {"disconnected": 0.1, "broken_off": 0.1, "malformed": 0.1, "deadline": 0.1}  # nobody asked us to slow down
USUAL_BACKOFF_S = 0.25  # doubled at each try; an endpoint in real trouble rests as a whole (gauge.py)


class Worker:
    """`clients`, each with its gauge, share the work: `attempts` a request, at most `concurrency` in flight."""

    def __init__(
        self, clients: Sequence[Client], gauges: Sequence[EndpointLimits], attempts: int, concurrency: int
    ) -> None:
        self.places = list(zip(clients, gauges, strict=True))
        self.attempts, self.concurrency = attempts, concurrency
        self._waiting: deque[PendingRequest] = deque()
        self._delayed = 0
        self._out = WorkerReport()
        self._ready = asyncio.Event()
        self._usd = self._tokens = float("inf")
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._answered = self._reasoned = 0
        self._unjournalled, self._enough = 0, 1

    async def exchange(
        self,
        requests: Sequence[WireRequest],
        usd: float = float("inf"),
        tokens: float = float("inf"),
        patience_s: float = PATIENCE_S,
    ) -> WorkerReport:
        """Take requests in, hand answers over, a small group at a time; waits at most `patience_s` for the first.

        To call says that the last delivery is journalled. What is not yet journalled counts as in flight: so no more
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
        out, self._out = self._out, WorkerReport()
        self._usd, self._tokens = self._usd - out.usd, self._tokens - out.tokens
        self._unjournalled = len(out.done)
        out.in_flight = sum(gauge.in_flight for _, gauge in self.places)
        out.waiting = len(self._waiting) + self._delayed
        out.window = sum(int(gauge.window) for _, gauge in self.places if gauge.dead is None)
        out.away_s = self._away() if self.busy else 0.0
        out.dead = {n: gauge.dead for n, (_, gauge) in enumerate(self.places) if gauge.dead is not None}
        out.endpoints = len(self.places)
        out.answered, out.reasoned = self._answered, self._reasoned
        return out

    async def _news(self, enough: int, seconds: float) -> None:
        """Wait until `enough` lines lie ready, or nothing is left to wait for."""
        if len(self._out.lines) < enough:
            self._enough = enough
            self._ready.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), seconds)

    def _away(self) -> float:
        since = [gauge.failing_since for _, gauge in self.places if gauge.dead is None]
        failing = [moment for moment in since if moment is not None]
        return time.monotonic() - max(failing) if failing and len(failing) == len(since) else 0.0

    def _open_now(self) -> int:
        return len(self._running) + len(self._out.done) + self._unjournalled

    def _may_spend(self) -> bool:
        return self._out.usd < self._usd and self._out.tokens < self._tokens

    @property
    def busy(self) -> bool:
        """Whether anything waits or is in flight."""
        return bool(self._waiting or self._delayed or self._running)

    def _dispatch(self) -> None:
        """Start whatever has room, wherever there is most of it."""
        while self._waiting and self._open_now() < self.concurrency and self._may_spend():
            now = time.monotonic()
            waits = [(gauge.wait(now), gauge.load, n) for n, (_, gauge) in enumerate(self.places)]
            free = [(load, n) for wait, load, n in waits if wait == 0]
            if not free:
                later = [wait for wait, _, _ in waits if wait is not None]
                if later and self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(min(later), self._wake)
                break
            client, gauge = self.places[min(free)[1]]
            if gauge.must_probe:
                gauge.must_probe = False
                gauge.rests_until = now + client.deadline_s  # nobody else until the probe is back
                gauge.started(0)
                self._spawn(self._probe(client, gauge))
                continue
            slip = self._waiting.popleft()
            estimate = guess_prompt(slip.messages)
            gauge.started(estimate)
            self._spawn(self._attempt(slip, client, gauge, estimate))
        if not self.busy or len(self._out.lines) >= self._enough:
            self._ready.set()

    def _wake(self) -> None:
        self._timer = None
        self._dispatch()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # a bug of ours: into the loop's exception handler
        self._dispatch()

    async def _attempt(self, slip: PendingRequest, client: Client, gauge: EndpointLimits, estimate: int) -> None:
        slip.attempts += 1
        try:
            reply = await client.ask(slip.messages, slip.sampling)
        except Fault as fault:
            gauge.in_flight -= 1
            self._fault(slip, client, gauge, fault)
            return
        gauge.in_flight -= 1
        gauge.answered(reply.latency_s, estimate, reply.prompt_tokens + reply.completion_tokens)
        if reply.empty and slip.empties == 0:
            slip.empties += 1
            self._out.faults["empty"] += 1
            self._bill(slip.request_id, "empty", reply.prompt_tokens, reply.completion_tokens, reply.cost_usd)
            self._waiting.append(slip)
            return
        self._answer(slip, client, reply)

    async def _probe(self, client: Client, gauge: EndpointLimits) -> None:
        try:
            reply = await client.ask(PROBE, PROBE_SAMPLING)
        except Fault as fault:
            gauge.rests_until = 0.0
            if fault.course is Action.ENDPOINT:
                gauge.dead = str(fault)
            else:
                gauge.failed(time.monotonic())
        else:
            gauge.rests_until = 0.0
            gauge.answered(reply.latency_s, 0, reply.prompt_tokens + reply.completion_tokens)
            self._bill("probe", "probe", reply.prompt_tokens, reply.completion_tokens, reply.cost_usd)
        finally:
            gauge.in_flight -= 1

    def _fault(self, slip: PendingRequest, client: Client, gauge: EndpointLimits, fault: Fault) -> None:
        now = time.monotonic()
        self._out.faults[fault.kind] += 1
        prompt, completion, usd = client.billed(fault, slip.messages)
        if prompt and fault.course is not Action.ROW:
            self._bill(slip.request_id, fault.kind, prompt, completion, usd, estimated=True)
        if fault.course is Action.ROW:
            gauge.alive()
            self._fail(slip, client, fault, prompt, completion, usd)
        elif fault.course is Action.ENDPOINT:
            gauge.dead = str(fault)
            slip.attempts -= 1
            self._waiting.appendleft(slip)
        elif fault.course is Action.THROTTLED:
            gauge.refused(fault.wait_s, now)
            slip.attempts -= 1
            slip.throttles += 1
            if slip.throttles >= THROTTLES:
                self._fail(slip, client, fault, 0, 0, 0.0)
            else:
                self._later(slip, fault, slip.throttles)
        elif gauge.failed(now):
            slip.attempts -= 1  # the endpoint is away: that is not this request's fault
            self._waiting.append(slip)
        elif slip.attempts >= self.attempts:
            self._fail(slip, client, fault, 0, 0, 0.0)
        else:
            self._later(slip, fault, slip.attempts)

    def _later(self, slip: PendingRequest, fault: Fault, tries: int) -> None:
        first = BACKOFF_S.get(fault.kind, USUAL_BACKOFF_S)
        backoff = min(LONGEST_BACKOFF_S, first * 2 ** min(tries - 1, 10)) * random.uniform(0.5, 1.5)
        delay = backoff if fault.wait_s is None else min(fault.wait_s, 3600.0) * random.uniform(1.0, 1.1)
        self._delayed += 1

        def back() -> None:
            self._delayed -= 1
            self._waiting.appendleft(slip)
            self._dispatch()

        asyncio.get_running_loop().call_later(delay, back)

    def _answer(self, slip: PendingRequest, client: Client, reply: Reply) -> None:
        self._answered += 1
        self._reasoned += bool(reply.reasoning)
        self._spent(reply.cost_usd, reply.prompt_tokens + reply.completion_tokens)
        self._deliver(
            slip,
            {
                "id": slip.request_id,
                "reasoning": reply.reasoning,
                "content": reply.content,
                "finish_reason": reply.finish_reason,
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "cost_usd": reply.cost_usd,
                "latency_s": round(reply.latency_s, 3),
                "estimated": reply.estimated,
                "attempts": slip.attempts,
            },
            client,
        )

    def _fail(
        self, slip: PendingRequest, client: Client, fault: Fault, prompt: int, completion: int, usd: float
    ) -> None:
        self._spent(usd, prompt + completion)
        line = {
            "id": slip.request_id,
            "error": as_error(fault, slip.attempts),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cost_usd": usd,
            "estimated": bool(prompt),
            "attempts": slip.attempts,
        }
        self._deliver(slip, line, client)

    def _deliver(self, slip: PendingRequest, line: dict[str, Any], client: Client) -> None:
        line |= {"model": client.endpoint.model, "host": client.endpoint.host, "sampling": slip.sampling}
        if slip.purpose != "trace":
            line["purpose"] = slip.purpose
        self._out.lines.append(_encode(line))
        self._out.done.append(slip.request_id)

    def _bill(
        self, request_id: str, kind: str, prompt: int, completion: int, usd: float, estimated: bool = False
    ) -> None:
        self._spent(usd, prompt + completion)
        line = {"bill": request_id, "kind": kind, "prompt_tokens": prompt, "completion_tokens": completion}
        self._out.lines.append(_encode({**line, "cost_usd": usd, "estimated": estimated}))

    def _spent(self, usd: float, tokens: int) -> None:
        self._out.usd += usd
        self._out.tokens += tokens


def _encode(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
