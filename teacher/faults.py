"""What can go wrong with one request, by kind, and what is done about it.

`RETRY` faults are tried again within the budget of attempts; `THROTTLED` ones wait their turn and cost no attempt;
`ROW` faults are the request's own and are recorded at once; `ENDPOINT` faults put the endpoint out (key, credit,
model name), and the request goes to another.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from distill.answers.body import ErrorInBody


class Action(Enum):
    """What follows from a fault."""

    RETRY = "retry"
    THROTTLED = "throttled"
    ROW = "row"
    ENDPOINT = "endpoint"


@dataclass(eq=False)
class Fault(Exception):
    """`kind` is one word for tables, `message` what the server said (keys taken out), `wait_s` its Retry-After.

    `billed_text` holds what had arrived of an answer that could not be used: it is billed by most providers.
    """

    kind: str
    message: str
    course: Action
    wait_s: float | None = None
    billed_text: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


_CONTEXT = re.compile(
    r"context.{0,20}(?:length|window|limit)|maximum.{0,30}(?:tokens|length)|too (?:long|many tokens)|max_model_len",
    re.I,
)
_FILTER = re.compile(r"content.?(?:filter|policy|management)|moderation|flagged|safety|content exists risk", re.I)
_CREDIT = re.compile(r"insufficient.{0,3}(?:quota|balance|credit)|exceeded your current quota|billing", re.I)
_MODEL = re.compile(r"model.{0,60}(?:not exist|not found|does not exist|unknown)|unknown model|invalid model", re.I)


def from_body(error: ErrorInBody) -> Fault:
    """The fault that an error under HTTP status 200 means. What had been written by then is billed."""
    fault = from_status(error.status, error.message, {})
    fault.message = f"HTTP 200 with an error: {shorten(error.message)}"
    fault.billed_text = error.text or None
    return fault


def from_status(status: int, body: str, headers: Mapping[str, str]) -> Fault:
    """The fault that an HTTP status other than 200 means."""
    said = f"HTTP {status}: {shorten(body)}"
    wait = retry_after(headers)
    if status == 429:
        if _CREDIT.search(body):
            return Fault("no_credit", said, Action.ENDPOINT)
        return Fault("rate_limited", said, Action.THROTTLED, wait)
    if status in (401, 402):
        return Fault("unauthorized" if status == 401 else "no_credit", said, Action.ENDPOINT)
    if status == 404 or (status in (400, 422) and _MODEL.search(body)):
        return Fault("no_such_model", said, Action.ENDPOINT)
    if status == 413 or (status in (400, 422) and _CONTEXT.search(body)):
        return Fault("context_too_long", said, Action.ROW)
    if status in (400, 403, 451) and _FILTER.search(body):
        return Fault("content_filter", said, Action.ROW)
    if status == 403:
        return Fault("forbidden", said, Action.ENDPOINT)
    if status in (408, 409, 425) or status >= 500:
        return Fault("overloaded" if status in (502, 503, 504, 529) else "server_error", said, Action.RETRY, wait)
    return Fault("bad_request", said, Action.ROW)


def from_exception(error: Exception, deadline_s: float) -> Fault:
    """The fault that an exception of the client means. What nobody foresaw is tried again, too."""
    import openai

    if isinstance(error, Fault):
        return error
    if isinstance(error, openai.APIStatusError):
        return from_status(error.status_code, error.response.text, error.response.headers)
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # The transport calls every lost connection a timeout; what stands behind it knows better.
    if isinstance(error, TimeoutError) or isinstance(chain[-1], TimeoutError | openai.APITimeoutError):
        return Fault("deadline", f"no answer within {deadline_s:g} s", Action.RETRY, billed_text="")
    text = shorten(" < ".join(f"{type(each).__name__}: {each}" for each in chain[1:] or chain))
    if isinstance(error, openai.APIConnectionError):
        if re.search(r"PayloadError|ReadError|RemoteProtocol|ContentLength", text):
            return Fault("broken_off", text, Action.RETRY, billed_text="")
        refused = re.search(r"refused|cannot connect|name or service|resolve|unreachable|no route", text, re.I)
        return Fault("refused" if refused else "disconnected", text, Action.RETRY)
    return Fault("unexpected", text, Action.RETRY)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` as seconds or a date.

    A date is compared with the server's own `Date` where it sends one, since clocks differ. None without a wait, and
    for one that is zero, past or unreadable: the usual backoff then holds.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" not in headers:
            return None
        elif re.fullmatch(r"\s*[-+]?\d+(\.\d+)?\s*", headers["retry-after"]):
            seconds = float(headers["retry-after"])
        else:
            seconds = _seconds_of(headers["retry-after"]) - (_server_time(headers) or time.time())
    except (ValueError, TypeError):
        return None
    return seconds if 0 < seconds < math.inf else None


def _seconds_of(date: str) -> float:
    """An HTTP date as seconds since 1970. Raises ValueError or TypeError where it is none."""
    return email.utils.parsedate_to_datetime(date).timestamp()


def _server_time(headers: Mapping[str, str]) -> float | None:
    try:
        return _seconds_of(headers["date"])
    except (KeyError, ValueError, TypeError):
        return None


def shorten(text: str, most: int = 300) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def scrubbed(text: str, keys: list[str]) -> str:
    """`text` without any of the keys: servers like to quote them back."""
    for key in keys:
        if key:
            text = text.replace(key, "[key]")
    return re.sub(r"\bsk-[A-Za-z0-9_*-]{6,}", "[key]", text)


def as_error(fault: Fault, attempts: int) -> str:
    """How a permanent failure is recorded in a row."""
    return f"{fault} (after {attempts} attempts)" if attempts > 1 else str(fault)
