"""`teacher.reasoning` and `teacher.extra_body` as fields of a request: every host has its own words for thinking.

Used by `teacher.settings`, and by all that send requests. docs/teacher.md has the table, with the source of each row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool

from distill.answers import JsonObject, JsonValue

if TYPE_CHECKING:
    from teacher.endpoint import Endpoint

Effort = Literal["low", "medium", "high"]
Tokens = Annotated[int, Field(ge=1, strict=True)]
SWITCHES = {"on": True, "off": False}  # YAML reads both as booleans; JSON and Python do not


def _switch(value: object) -> object:
    return SWITCHES.get(value, value) if isinstance(value, str) else value


Reasoning = Annotated[StrictBool | Tokens | Effort, BeforeValidator(_switch)]
Choice = bool | int | str
# Fields of a body that say where a request goes, who asks and what is logged; they change no answer.
# fmt: off
ROUTING = frozenset((
    "provider", "models", "route", "transforms", "user", "metadata", "service_tier", "store", "priority", "usage",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "cache_prompt", "request_id", "trace",
))
# fmt: on
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2})(?!\d))?")
OURS = ("model", "messages", "stream", "n")


@dataclass(frozen=True, slots=True)
class HostForm:
    """How hosts are asked to think: their names (and what ends in them), and the fields by choice, `max_tokens`
    and model; None for what they lack."""

    name: str
    hosts: tuple[str, ...]
    fields: Callable[[Choice, int, str], JsonObject | None]
    takes: str = "on, off, a number of tokens, low, medium or high"


def _effort(wanted: Choice, most: int, model: str) -> JsonObject | None:
    if isinstance(wanted, bool):
        return {"reasoning_effort": "medium" if wanted else "none"}
    return None if isinstance(wanted, int) else {"reasoning_effort": wanted}


def _thinking(wanted: Choice, most: int, model: str) -> JsonObject | None:
    if isinstance(wanted, bool):
        return {"thinking": {"type": "enabled" if wanted else "disabled"}}
    return None if isinstance(wanted, int) else {"thinking": {"type": "enabled"}, "reasoning_effort": wanted}


def _qwen(wanted: Choice, most: int, model: str) -> JsonObject | None:
    if isinstance(wanted, bool):
        return {"enable_thinking": wanted}
    return {"enable_thinking": True, "thinking_budget": wanted} if isinstance(wanted, int) else None


def _alibaba(wanted: Choice, most: int, model: str) -> JsonObject | None:
    """Qwen's open models think there in a stream alone: "enable_thinking must be … false for non-streaming calls"."""
    fields = _qwen(wanted, most, model)
    streamed: JsonObject = {"stream": True, "stream_options": {"include_usage": True}}
    return fields if fields is None or wanted is False else {**fields, **streamed}


def _openrouter(wanted: Choice, most: int, model: str) -> JsonObject | None:
    if isinstance(wanted, bool):
        return {"reasoning": {"enabled": True} if wanted else {"effort": "none"}}
    return {"reasoning": {"max_tokens": wanted} if isinstance(wanted, int) else {"effort": wanted}}


def _anthropic(wanted: Choice, most: int, model: str) -> JsonObject | None:
    """Claude from 4.6 on decides itself how long it thinks, by an effort; earlier ones take a number of tokens."""
    if wanted is False:
        return {"thinking": {"type": "disabled"}}
    version = _CLAUDE.search(model)
    if version and (int(version[1]), int(version[2] or 0)) >= (4, 6):
        adaptive: JsonObject = {"thinking": {"type": "adaptive", "display": "summarized"}}
        if wanted is True:
            return adaptive
        return {**adaptive, "output_config": {"effort": wanted}} if isinstance(wanted, str) else None
    tokens = max(1024, most // 2) if wanted is True else wanted  # 1,024 is the least that it takes
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}} if isinstance(tokens, int) else None


def _server(wanted: Choice, most: int, model: str) -> JsonObject | None:
    template: JsonObject = {"enable_thinking": wanted is not False, "thinking": wanted is not False}
    if isinstance(wanted, str):
        return {"reasoning_effort": wanted, "chat_template_kwargs": template}
    if isinstance(wanted, bool):
        return {"chat_template_kwargs": template}
    return {"thinking_token_budget": wanted, "chat_template_kwargs": {**template, "thinking_budget": wanted}}


ANTHROPIC = HostForm(
    "budget_tokens",
    ("api.anthropic.com",),
    _anthropic,
    "on, off, and low, medium or high from Claude 4.6 on, a number of tokens before",
)
FORMS = (
    HostForm(
        "reasoning_effort",
        ("api.openai.com", "openai.azure.com", "generativelanguage.googleapis.com", "api.x.ai"),
        _effort,
        "on, off, low, medium or high",
    ),
    HostForm(
        "thinking",
        ("api.deepseek.com", "api.moonshot.ai", "api.moonshot.cn", "api.z.ai", "open.bigmodel.cn", "volces.com"),
        _thinking,
        "on, off, low, medium or high",
    ),
    HostForm("enable_thinking, in a stream", ("aliyuncs.com",), _alibaba, "on, off or a number of tokens"),
    HostForm("enable_thinking", ("siliconflow.com", "siliconflow.cn"), _qwen, "on, off or a number of tokens"),
    HostForm("reasoning", ("openrouter.ai",), _openrouter),
    ANTHROPIC,
)
SERVER = HostForm("chat_template_kwargs", (), _server)  # vLLM, SGLang, llama.cpp; and every host that is not known


def form_of(host: str) -> HostForm:
    """The form of a host, with or without its port."""
    name = host.partition(":")[0].lower()
    known = (form for form in FORMS if any(name == end or name.endswith(f".{end}") for end in form.hosts))
    return next(known, SERVER)


def as_said(wanted: Choice) -> JsonValue:
    """A choice as the configuration writes it."""
    return ("on" if wanted else "off") if isinstance(wanted, bool) else wanted


def complete(
    endpoints: Iterable[Endpoint],
    reasoning: Choice | None,
    extra_body: JsonObject,
    max_tokens: int,
    form: HostForm | None = None,
) -> list[Endpoint]:
    """The endpoints, each with all the fields that its requests have in addition: `reasoning` in the host's own words,
    then `extra_body`, then the endpoint's own. `form` is that of a protocol, whatever the host. Raises ValueError for
    what a host cannot be asked."""
    found = []
    for number, endpoint in enumerate(endpoints):
        who = f"endpoints.{number} ({endpoint.host})"
        fields = in_words_of(form or form_of(endpoint.host), reasoning, max_tokens, who, endpoint.model)
        body = merged(merged(fields, extra_body), endpoint.extra_body)
        found.append(endpoint.model_copy(update={"extra_body": body}) if body != endpoint.extra_body else endpoint)
    return found


def in_words_of(form: HostForm, reasoning: Choice | None, max_tokens: int, who: str, model: str = "") -> JsonObject:
    """The fields that ask for this much reasoning. Raises ValueError where that form has none for it."""
    if reasoning is None:
        return {}
    if not isinstance(reasoning, bool | str) and reasoning >= max_tokens:
        raise ValueError(f"reasoning: {reasoning} tokens leave no answer with max_tokens {max_tokens}")
    fields = form.fields(reasoning, max_tokens, model)
    if fields is None:
        raise ValueError(f"reasoning: {as_said(reasoning)}: {who} takes {form.takes}")
    return fields


def merged(first: JsonObject, second: JsonObject) -> JsonObject:
    """Both, objects within them joined; where they differ, the second."""
    both = dict(first)
    for name, value in second.items():
        mine = both.get(name)
        both[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def check_bodies(endpoints: Sequence[Endpoint], extra_body: JsonObject) -> None:
    """Raise ValueError where `extra_body` says what other keys say, or endpoints would be asked different things."""
    for field in OURS:
        if field in extra_body:
            raise ValueError(f"extra_body.{field}: requests have this field already; leave it out")
    own = [answering(endpoint) for endpoint in endpoints]
    for number, fields in enumerate(own):
        if fields != own[0]:
            names = sorted({*fields, *own[0]} - {name for name in fields if fields[name] == own[0].get(name)})
            raise ValueError(
                f"endpoints.{number}.extra_body: {', '.join(names)} differs from endpoints.0, so one teacher would "
                "answer in two ways; set teacher.reasoning, which is put into each host's own words, or "
                "teacher.extra_body, which holds for all (an endpoint's own is for routing)"
            )


def answering(endpoint: Endpoint) -> JsonObject:
    """What an endpoint's own `extra_body` says besides routing: fields that may change an answer."""
    return {name: value for name, value in endpoint.extra_body.items() if name not in ROUTING}
