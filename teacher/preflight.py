"""Sends each endpoint one tiny request first, so that a wrong key, URL or model costs nothing. For the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import SecretStr

from distill.answers import JsonObject
from distill.errors import EndpointError, Stopped
from distill.records import JournalEntry
from teacher.client import PROBE, PROBE_SAMPLING, Client
from teacher.connection import closed_for_want_of_tls
from teacher.endpoint import Endpoint
from teacher.faults import Action, Fault, explained
from teacher.journal import encode
from teacher.settings import TeacherSettings
from teacher.sources.base import Reply

TRIES, PAUSE_S, LONGEST_S = 3, 1.0, 60.0
ENOUGH_TO_JUDGE = 20


def preflight(
    endpoints: list[Endpoint],
    keys: list[SecretStr],
    deadline_s: float,
    sampling: JsonObject,
    stage: str = "trace",
    say: Callable[[str], None] | None = None,
) -> list[bytes]:
    """Journal lines (bills) of what it cost. The sampling settings are the run's own: a server may refuse one of them.
    `say` is called with whether each endpoint's answer held reasoning.

    Raises EndpointError when a key, a model or a setting is refused, or all endpoints are away; Stopped when an account
    has no credit left. An endpoint that is away while others answer is left to the run, which rests it and tries it
    again; one that is throttled or says that it is overloaded is alive.
    """
    outcomes = asyncio.run(_ask_all(endpoints, keys, min(deadline_s, LONGEST_S), sampling))
    faults: list[tuple[int, Fault]] = [(n, f) for n, f in enumerate(outcomes) if isinstance(f, Fault)]
    for number, fault in faults:
        if fault.kind == "no_credit":
            raise Stopped(_refusal(endpoints[number], number, fault))
        if fault.action in (Action.ENDPOINT, Action.ROW) and fault.kind != "content_filter":
            raise EndpointError(_refusal(endpoints[number], number, fault))
    away = [(n, f) for n, f in faults if f.action is Action.RETRY]
    if away and len(away) == len(endpoints):
        raise EndpointError("\n".join(_refusal(endpoints[n], n, f) for n, f in away))
    for number, reply in enumerate(outcomes):
        if say is not None and isinstance(reply, Reply):
            came = "held reasoning" if reply.reasoning else "was billed for reasoning and shows none"
            came = came if reply.thought else "held no reasoning"
            say(f"  teacher.endpoints.{number} ({endpoints[number].host}): the first answer {came}")
    return [
        encode(JournalEntry(reply.answer("preflight", None, "", {}), "preflight", stage))
        for reply in outcomes
        if isinstance(reply, Reply)
    ]


def demand_reasoning(settings: TeacherSettings, answered: int, reasoned: int) -> None:
    """Raise EndpointError when enough answers have come to see that this teacher shows no reasoning."""
    if settings.require_reasoning and settings.reasoning is not False and answered >= ENOUGH_TO_JUDGE and not reasoned:
        raise EndpointError(
            f"teacher: the first {answered} answers hold no reasoning (no reasoning, reasoning_content or <think>); "
            "switch it on (teacher.reasoning: on; vLLM: --reasoning-parser), choose a model that thinks, or set "
            "teacher.elicit: written, which asks a model that does not think by itself to explain before its verdict "
            "(teacher.require_reasoning: false takes bare verdicts)"
        )


async def _ask_all(
    endpoints: list[Endpoint], keys: list[SecretStr], deadline_s: float, sampling: JsonObject
) -> list[Reply | Fault]:
    clients = [Client(e, k.get_secret_value(), deadline_s, 1) for e, k in zip(endpoints, keys, strict=True)]
    try:
        return list(await asyncio.gather(*(_ask(client, sampling) for client in clients)))
    finally:
        for client in clients:
            await client.close()


async def _ask(client: Client, sampling: JsonObject) -> Reply | Fault:
    last: Fault | None = None
    for number in range(TRIES):
        try:
            return await client.ask(PROBE, sampling)
        except Fault as fault:
            last = fault
            if fault.kind == "deadline":  # the settings are not refused, so it may be writing: a short answer will do
                sampling = PROBE_SAMPLING
            if fault.action is not Action.RETRY:
                return fault
            if number < TRIES - 1:
                await asyncio.sleep(PAUSE_S)
    assert last is not None
    if last.kind in ("disconnected", "broken_off", "malformed"):
        problem = await closed_for_want_of_tls(client.endpoint.base_url)
        if problem:
            return Fault(problem.kind, problem.message, Action.ENDPOINT, remedy=problem.remedy)
    return last


def _refusal(endpoint: Endpoint, number: int, fault: Fault) -> str:
    key = endpoint.api_key_env or endpoint.api_key_command or ""
    return f"teacher.endpoints.{number} ({endpoint.base_url}): {explained(fault, endpoint.model, key)}"
