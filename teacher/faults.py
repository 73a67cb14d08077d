"""What can go wrong with one request, by kind, and what is done about it. For all that send requests.

`RETRY` faults are tried again within the budget of attempts; `THROTTLED` ones wait their turn and cost no attempt;
`ROW` faults are the request's own and are recorded without a retry; `ENDPOINT` faults disable the endpoint (key,
credit, model name), and the request goes to another.
"""

from __future__ import annotations

import email.utils
import json
import math
import os
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from distill.answers.body import ErrorInBody
from teacher.connection import TlsProblem, tls_problem, wants_tls


class Action(Enum):
    """What follows from a fault."""

    RETRY = "retry"
    THROTTLED = "throttled"
    ROW = "row"
    ENDPOINT = "endpoint"


@dataclass(eq=False)
class Fault(Exception):
    """`kind` is one word for tables, `message` what the server said (keys taken out), `wait_s` its Retry-After.

    `remedy` is what the user can do, where the kind alone does not say it. `billed_text` holds what had arrived of an
    answer that could not be used: it is billed by most providers.
    """

    kind: str
    message: str
    action: Action
    wait_s: float | None = None
    billed_text: str | None = None
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


_CONTEXT = re.compile(
    r"context.{0,20}(?:length|window|limit|size)|maximum.{0,30}(?:tokens|length)|too (?:long|many tokens)|max_model_len"
    r"|must be <= \d",
    re.I,
)
_FILTER = re.compile(r"content.?(?:filter|policy|management)|moderation|flagged|safety|content exists risk", re.I)
_MODEL = re.compile(
    r"models?\b.{0,60}(?:not exist|not found|does not exist|unknown)|unknown model|invalid model|not a valid model"
    r"|no endpoints found|DeploymentNotFound|not_found_error.{0,40}model:",
    re.I,
)
# What OpenAI, OpenRouter, DeepSeek, Anthropic, xAI, Hugging Face, Moonshot and Alibaba say when the money is used up
_CREDIT = re.compile(
    r"insufficient.{0,3}(?:quota|balance|credit|fund)|credit balance is too low|exceeded_current_quota"
    r"|(?:balance|credits?|quota) (?:is|are|has been|have been) (?:insufficient|not enough|too low|exhausted|used up)"
    r"|not enough (?:credits?|balance|funds)|requires more credits|out of credits|credit limit|arrearage"
    r"|(?:used|exhausted|consumed|exceeded) "
    r"(?:all |of |your |the |its |available |free |monthly |included ){1,6}credits"
    r"|exceeded your current quota|hard.?limit.{0,10}reached|payment.?required|account\b.{0,60}\bsuspended",
    re.I,
)
_SOON = re.compile(r"per.?(?:minute|second|hour|day)|\b[rt]p[md]\b|retry.?(?:in\b|delay|after)|try again in", re.I)
_HTML = re.compile(r"\s{0,20}(?:<!--.{0,200}-->\s{0,20})?<(?:!doctype html|html|head|body)\b", re.I | re.S)
_TITLE = re.compile(r"<title[^>]{0,100}>(.{0,200}?)</title>", re.I | re.S)


def from_body(error: ErrorInBody) -> Fault:
    """The fault that an error under HTTP status 200 means. What had been written by then is billed."""
    fault = from_status(error.status, error.message, {})
    fault.message = f"HTTP 200 with an error: {said_in(error.message)}"
    fault.billed_text = error.text or None
    return fault


def from_status(status: int, body: str, headers: Mapping[str, str]) -> Fault:
    """The fault that an HTTP status other than 200 means."""
    message = f"HTTP {status}: {said_in(body)}"
    wait = retry_after(headers)
    if status == 402 or (status in (400, 403, 412, 429) and _CREDIT.search(body) and not _waits(body)):
        return Fault("no_credit", message, Action.ENDPOINT)
    if status == 429:
        return Fault("rate_limited", message, Action.THROTTLED, wait)
    if status == 401:
        return Fault("unauthorized", message, Action.ENDPOINT)
    if status in (400, 404, 422) and _MODEL.search(body):
        return Fault("no_such_model", message, Action.ENDPOINT)
    if status in (404, 405):
        return Fault("no_such_url", message, Action.ENDPOINT)
    if status == 400 and (problem := wants_tls(body, "the server")):
        return _of_tls(problem)
    if status == 413 or (status in (400, 422) and _CONTEXT.search(body)):
        return Fault("context_too_long", message, Action.ROW)
    if status in (400, 403, 451) and _FILTER.search(body):
        return Fault("content_filter", message, Action.ROW)
    if status == 403:
        return Fault("forbidden", message, Action.ENDPOINT)
    if status in (408, 409, 425) or status >= 500:
        return Fault("overloaded" if status in (502, 503, 504, 529) else "server_error", message, Action.RETRY, wait)
    return Fault("bad_request", message, Action.ROW)


def from_exception(error: Exception, deadline_s: float, host: str) -> Fault:
    """The fault that an exception of the client means. What nobody foresaw is tried again, too."""
    import openai

    if isinstance(error, Fault):
        return error
    if isinstance(error, openai.APIStatusError):
        return from_status(error.status_code, error.response.text, error.response.headers)
    if isinstance(error, openai.APIConnectionError) and (problem := tls_problem(error, host)):
        return _of_tls(problem)
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # The transport calls every lost connection a timeout; its cause knows better.
    if isinstance(error, TimeoutError) or isinstance(chain[-1], TimeoutError | openai.APITimeoutError):
        return Fault("deadline", f"no answer within {deadline_s:g} s", Action.RETRY, billed_text="")
    text = shorten(" < ".join(f"{type(one).__name__}: {one}" for one in chain[1:] or chain))
    if isinstance(error, openai.APIConnectionError):
        if re.search(r"PayloadError|ReadError|RemoteProtocol|ContentLength", text):
            return Fault("broken_off", text, Action.RETRY, billed_text="")
        refused = re.search(r"refused|cannot connect|name or service|resolve|unreachable|no route", text, re.I)
        return Fault("refused" if refused else "disconnected", _of_the_system(chain) or text, Action.RETRY)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return Fault("unexpected", f"{text}{place}", Action.RETRY)


def _of_the_system(chain: Sequence[BaseException]) -> str | None:
    """What the operating system says of a failed connection ("Connection refused"), without the clients' wrapping."""
    for error in reversed(chain):
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno) if error.errno > 0 else error.strerror  # below 0: of a host's name
    return None


_CHECK_KEY = "check the key that api_key_env names"
_SET_KEY = "set the endpoint's api_key_env to the name of the environment variable that holds its key"


def explained(fault: Fault, model: str, key: str | None = None) -> str:
    """The fault as one line with what the user can do about it. `key` is the name of the key's variable, "" of none."""
    return f"{fault}; {fault.remedy or remedy_of(fault.kind, model, key)}"


def remedy_of(kind: str, model: str, key: str | None = None) -> str:
    """What the user can do about a kind of fault; `key` is the name of the key's variable, "" where none is set."""
    remedies = {
        "unauthorized": f"check the key in {key}" if key else _CHECK_KEY if key is None else _SET_KEY,
        "forbidden": "check what the key may do",
        "no_credit": "the account has no credit left: top it up, then run the same command again; nothing is lost",
        "no_such_model": f"check the model name {model!r}, and that base_url is its server's",
        "no_such_url": "check base_url: it ends before /chat/completions, at most servers in /v1",
        "html_page": "check base_url: it names a web page, not an API; at most servers it ends in /v1",
        "malformed": "check base_url: it ends before /chat/completions, at most servers in /v1",
        "refused": "is the server running, and the URL right?",
        "deadline": "is the server alive, and the URL right?",
        "context_too_long": "lower teacher.max_tokens, or set teacher.context to the server's window: a prompt that "
        "leaves no room in it is then not asked",
        "content_filter": "the provider refuses such passages: ask another one, or leave them out",
        "bad_request": "check the sampling settings (temperature, top_p, seed, max_tokens) and extra_body",
    }
    return remedies.get(kind, "check base_url, model and extra_body")


def _waits(body: str) -> bool:
    """Whether a refusal for a quota ends by itself: Gemini words its limits per minute like an exhausted account."""
    return bool(_SOON.search(body)) and "insufficient_quota" not in body


def _of_tls(problem: TlsProblem) -> Fault:
    return Fault(problem.kind, problem.message, Action.ENDPOINT, remedy=problem.remedy)


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


def html_title(body: str) -> str | None:
    """The title of a web page ("no title" where it has none), None where the body is no web page."""
    if not _HTML.match(body):
        return None
    title = _TITLE.search(body)
    return repr(shorten(title[1], 80)) if title else "no title"


def said_in(body: str) -> str:
    """What a server said, in one line: the message of an error in JSON, the title of a web page, else the body."""
    title = html_title(body)
    if title is not None:
        return f"a web page, {title}"
    try:
        value = json.loads(body)
    except ValueError:
        return shorten(body)
    inner = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(inner, dict) or not isinstance(inner.get("message"), str):
        return shorten(inner if isinstance(inner, str) else body)
    code = inner.get("code") or inner.get("type")
    param = inner.get("param")
    others = [str(word) for word in (code, param) if isinstance(word, str | int) and str(word) not in inner["message"]]
    return shorten(inner["message"]) + (f" ({', '.join(others)})" if others else "")


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
