"""What passes between the session and its workers: requests to send, and reports of what became of them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from distill.answers import JsonObject

WireRequest = tuple[str, list[dict[str, str]], JsonObject, str]  # id, messages, sampling, purpose


@dataclass(slots=True)
class PendingRequest:
    """A request that a worker has, with what has happened to it."""

    request_id: str
    messages: list[dict[str, str]]
    sampling: JsonObject
    purpose: str = "trace"
    attempts: int = 0
    throttles: int = 0
    empties: int = 0


@dataclass(slots=True)
class WorkerReport:
    """What a worker hands over: journal lines, the ids that are answered or have failed, and its state.

    `away_s` is how long every endpoint has been failing; `dead` are disabled endpoints, by number, and why; `answered`
    and `reasoned` count this worker's answers so far, and those that held reasoning. `expired` are the keys, by
    endpoint, that were refused and can be renewed; `accepted` those of such keys that worked; both by their digests.
    """

    lines: list[bytes] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    in_flight: int = 0
    waiting: int = 0
    window: int = 0
    away_s: float = 0.0
    endpoints: int = 0
    dead: dict[int, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    reasoned: int = 0
    usd: float = 0.0
    tokens: int = 0
    expired: dict[int, str] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Call:
    """One caller's open requests, each with how often it is wanted, and the answered ones that it has not seen yet."""

    copies: Counter[str] = field(default_factory=Counter)
    answered: deque[str] = field(default_factory=deque)
