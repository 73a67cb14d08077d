"""What passes between driver and desks: a slip for each request, a delivery for each group of answers, a call."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

WireRequest = tuple[str, list[dict[str, str]], dict[str, Any], str]  # id, messages, sampling, purpose


@dataclass(slots=True)
class PendingRequest:
    """A request on the desk, with what has happened to it."""

    request_id: str
    messages: list[dict[str, str]]
    sampling: dict[str, Any]
    purpose: str = "trace"
    attempts: int = 0
    throttles: int = 0
    empties: int = 0


@dataclass(slots=True)
class WorkerReport:
    """What a desk hands over: journal lines, the ids that are done with, and how it stands.

    `away_s` is how long every endpoint has been failing; `dead` are endpoints put out, by number, and why; `answered`
    and `reasoned` count this desk's answers so far, and those that held reasoning.
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


@dataclass(slots=True, eq=False)
class Call:
    """One caller's requests that are not done with, how often each is wanted, and those done that it has yet to see."""

    copies: Counter[str] = field(default_factory=Counter)
    news: deque[str] = field(default_factory=deque)
