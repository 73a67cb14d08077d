"""Reads the body of a chat completion, whoever sent it. For teachers (HTTP, batch files) and students behind HTTP.

Apart from JSON it reads event streams and keep-alive lines that nobody asked for, and it finds errors under status 200.
Not covered: bodies of other interfaces (OpenAI's Responses, Anthropic's Messages, Gemini's own).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from distill.answers import JsonObject, JsonValue
from distill.answers.finish import FinishReason, finish_of
from distill.answers.logprobs import WordLogprobs, read_logprobs, word_logprobs
from distill.answers.message import read_message


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them, and US dollars where it says them. Those of reasoning are of the completion."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cost_usd: float | None = None
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat completion, understood. `unknown_finish` is the server's word for the end where nobody here knows it;
    `words` are the log-probabilities of words that may be the verdict, None where the server gave none."""

    reasoning: str
    content: str
    finish_reason: FinishReason
    unknown_finish: str | None = None
    usage: Usage | None = None
    model: str | None = None
    words: list[WordLogprobs] | None = None


class NotACompletion(ValueError):
    """A body that is neither a completion nor an error."""


@dataclass(eq=False)
class ErrorInBody(Exception):
    """An error under status 200. `status` is the HTTP status that it should have had; `text` is billed text."""

    status: int
    message: str
    text: str = ""


def read_completion(raw: bytes) -> Completion:
    """The completion that a body holds. Raises ErrorInBody or NotACompletion."""
    body = parse_body(raw)
    choice = first_choice(body)
    message = choice.get("message") or choice.get("delta")
    if not isinstance(message, dict):
        text = message or choice.get("text")
        message = {"content": text} if isinstance(text, str) else {}
    reasoning, content = map(_storable, read_message(message))
    word = choice.get("finish_reason", choice.get("finishReason"))
    finish, unknown = finish_of(word)
    error = choice.get("error") or message.get("error") or body.get("error")
    if error and (finish == "error" or not content):
        raise _error(error, reasoning + content)
    if finish == "error":
        raise ErrorInBody(500, f"finish_reason {word}", reasoning + content)
    if not message and word is None:
        raise _error_of(body) or NotACompletion("a choice without a message")
    model = body.get("model")
    logprobs = choice.get("logprobs")
    return Completion(
        reasoning,
        content,
        finish,
        unknown,
        read_usage(body.get("usage")),
        model if isinstance(model, str) else None,
        word_logprobs(read_logprobs(logprobs), content) if logprobs else None,
    )


def parse_body(raw: bytes) -> JsonObject:
    """The JSON object of a body; a stream of events is put together to one. Raises ErrorInBody or NotACompletion."""
    try:
        value: JsonValue = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError):
        value = _from_lines(raw)
    if isinstance(value, list) and len(value) == 1:  # Gemini's errors come in a list
        value = value[0]
    if not isinstance(value, dict):
        raise NotACompletion("not a JSON object")
    return value


def first_choice(body: JsonObject) -> JsonObject:
    """The first choice of a body. Raises ErrorInBody or NotACompletion where there is none."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise _error_of(body) or NotACompletion("no choices")
    return choice


def read_usage(usage: JsonValue) -> Usage | None:
    """A body's `usage`, None where it does not count both prompt and completion."""
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    if "prompt_tokens" not in usage:  # Anthropic counts what it reads from a cache and writes there apart
        prompt += sum(tokens for tokens in (read, written) if isinstance(tokens, int))
    places = (
        usage.get("prompt_cache_hit_tokens"), _detail(usage, "prompt_tokens_details", "cached_tokens"),
        _detail(usage, "input_tokens_details", "cached_tokens"), read,
    )  # fmt: skip
    cached = next((tokens for tokens in places if isinstance(tokens, int)), 0)
    reasoning, total = _detail(usage, "completion_tokens_details", "reasoning_tokens"), usage.get("total_tokens")
    if reasoning is None:
        reasoning = _detail(usage, "output_tokens_details", "thinking_tokens")
    # xAI and Gemini leave reasoning out of the completion, and bill it: only the total has it.
    beyond = total - prompt - completion if isinstance(total, int) else 0
    if beyond > 0 and reasoning in (None, beyond):
        reasoning, completion = beyond, completion + beyond
    cost = usage.get("cost")
    return Usage(
        prompt,
        completion,
        min(max(cached, 0), prompt),
        float(cost) if isinstance(cost, int | float) else None,
        reasoning or 0,
    )


def _detail(usage: JsonObject, group: str, name: str) -> int | None:
    details = usage.get(group)
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) else None


def _from_lines(raw: bytes) -> JsonValue:
    """A body with comments (`: keep-alive`) around it, or a stream of events (`data: {…}`)."""
    events: list[JsonObject] = []
    plain: list[str] = []
    ended = False
    for line in raw.decode("utf-8-sig", "replace").split("\n"):
        name, colon, data = line.partition(":")
        if colon and name.strip() in ("", "event", "id", "retry"):
            continue
        if colon and name.strip() == "data":
            data = data.strip()
            ended = ended or data == "[DONE]"
            if data and data != "[DONE]" and not data.startswith(":"):  # some gateways wrap comments, too
                events.append(_object(data))
        else:
            plain.append(line)
    if events:
        return _joined(events, ended)
    return _object("\n".join(plain))


def _object(text: str) -> JsonObject:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise NotACompletion("not JSON") from None
    if not isinstance(value, dict):
        raise NotACompletion("not a JSON object")
    return value


def _joined(events: list[JsonObject], ended: bool) -> JsonObject:
    """The chunks of a stream as one body: texts joined, the last value of everything else.

    Raises NotACompletion where the stream has broken off: no [DONE], no finish reason, no error.
    """
    message: dict[str, JsonValue] = {}
    choice: JsonObject = {}
    whole: JsonObject = {}
    for event in events:
        choices = event.get("choices")
        part = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(part, dict):
            continue
        delta = part.get("delta") or part.get("message")
        for key, value in delta.items() if isinstance(delta, dict) else ():
            earlier = message.get(key)
            if isinstance(earlier, str) and isinstance(value, str) and key != "role":
                message[key] = earlier + value
            elif isinstance(earlier, list) and isinstance(value, list):
                message[key] = [*earlier, *value]
            elif value is not None:
                message[key] = value
        logprobs = _joined_lists(choice.get("logprobs"), part.get("logprobs"))
        choice |= {key: value for key, value in part.items() if value is not None and key not in ("delta", "message")}
        choice |= {"logprobs": logprobs} if logprobs else {}
        whole |= {key: value for key, value in event.items() if value is not None and key != "choices"}
    if not ended and choice.get("finish_reason") is None and not whole.get("error"):
        raise NotACompletion("the stream ends before its answer does")
    return {**whole, "choices": [{**choice, "message": message}]}


def _joined_lists(earlier: JsonValue, later: JsonValue) -> JsonValue:
    """The lists of both objects, joined by their names: of `logprobs`, each chunk has those of its own tokens."""
    if not isinstance(earlier, dict) or not isinstance(later, dict):
        return later or earlier
    joined = dict(earlier)
    for name, value in later.items():
        mine = joined.get(name)
        joined[name] = [*mine, *value] if isinstance(mine, list) and isinstance(value, list) else value or mine
    return joined


_STATUS_WORDS: Final = (
    (402, r"insufficient.{0,3}(?:quota|balance|credit|fund)|exceeded your current quota|payment|arrearage|billing"),
    (429, r"rate.?limit|throttl|too.?many.?requests|resource.?exhausted|request.?limit|\b[rt]pm\b"),
    (401, r"authenti|authori|noauth|api.?key|login fail"),
    (403, r"permission|forbidden|access.?denied"),
    (404, r"not.?found|not.?exist|unknown.?model"),
    (503, r"overload|unavailable|capacity|busy"),
    (504, r"time.?out|deadline"),
    (400, r"invalid|bad.?request|context.{0,3}length|content.?(?:filter|policy)|unprocessable"),
)
_CODES: Final = ("code", "status", "status_code", "statusCode", "http_code", "error_code")
_KINDS: Final = ("type", "code", "status", "error_type", "message", "msg", "error_msg", "status_msg", "detail", "param")


def _error_of(body: JsonObject) -> ErrorInBody | None:
    """The error that a body without choices is, None where it is none."""
    errors = body.get("errors")  # Cloudflare
    inner = body.get("error") or (errors[0] if isinstance(errors, list) and errors else None)
    inner = inner or body.get("base_resp")  # MiniMax
    if inner:
        return _error(inner)
    names = ("message", "detail", "error_msg", "msg")  # vLLM before 0.10, Mistral; FastAPI; Baidu; Spark
    return _error(body) if any(body.get(name) for name in names) else None


def _error(error: JsonValue, text: str = "") -> ErrorInBody:
    message = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return ErrorInBody(_status_of(error), message, text)


def _status_of(error: JsonValue) -> int:
    """The HTTP status that an error means: its code where that is one, else by its words; 500 where none tells."""
    if isinstance(error, dict):
        for name in _CODES:
            code = str(error.get(name))
            if re.fullmatch(r"[45]\d\d", code):
                return int(code)
        words = " ".join(str(error[name]) for name in _KINDS if error.get(name))
    else:
        words = str(error)
    return next((status for status, pattern in _STATUS_WORDS if re.search(pattern, words, re.IGNORECASE)), 500)


def _storable(text: str) -> str:
    """`text` with lone surrogates replaced, which JSON can carry and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
