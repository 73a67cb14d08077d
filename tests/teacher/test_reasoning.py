"""A teacher that thinks when asked: each host in its own words, and answers that know how they were asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from distill.config import validate
from distill.errors import ConfigError
from distill.records import Trace, make_request
from distill.store import read_rows
from teacher import reasoning
from teacher.client import Client
from teacher.endpoint import Endpoint
from teacher.reasoning import HostForm, form_of
from teacher.requests import Requests
from teacher.settings import TeacherSettings
from teacher.sources.base import Reply as Answered
from teacher.stage import trace
from tests.teacher.helpers import make_pairs
from tests.teacher.http_servers import Reply, answering, completion

HOSTS = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://mine.openai.azure.com/openai/v1",
    "deepseek": "https://api.deepseek.com",
    "qwen": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "siliconflow": "https://api.siliconflow.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "server": "http://127.0.0.1:8000/v1",
    "lookalike": "https://api.openai.com.example.org/v1",
}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
THINKS = {"enable_thinking": True, "thinking": True}


def settings(*hosts: str, **values: Any) -> TeacherSettings:
    """Settings that name these hosts, as a configuration file gives them."""
    of_claude = {"base_url": HOSTS["anthropic"]}
    endpoints = [
        {**of_claude, "model": host} if host.startswith("claude") else {"base_url": HOSTS.get(host, host), "model": "m"}
        for host in hosts
    ]
    return validate(TeacherSettings, {"endpoints": endpoints, **values}, "my.yaml")


def body(host: str, wanted: Any, **values: Any) -> dict[str, Any]:
    """What a host's requests have in addition."""
    chosen = settings(host, reasoning=wanted, **values)
    return dict(chosen.asked_at(chosen.endpoints)[0].extra_body)


@pytest.mark.parametrize(
    "host, wanted, fields",
    [
        ("openai", "on", {"reasoning_effort": "medium"}),
        ("openai", False, {"reasoning_effort": "none"}),
        ("azure", "high", {"reasoning_effort": "high"}),
        ("deepseek", True, {"thinking": {"type": "enabled"}}),
        ("deepseek", "off", {"thinking": {"type": "disabled"}}),
        ("deepseek", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("qwen", "off", {"enable_thinking": False}),
        ("qwen", 2000, {"enable_thinking": True, "thinking_budget": 2000, **STREAM}),
        ("siliconflow", 2000, {"enable_thinking": True, "thinking_budget": 2000}),
        ("openrouter", "on", {"reasoning": {"enabled": True}}),
        ("openrouter", "off", {"reasoning": {"effort": "none"}}),
        ("openrouter", 2000, {"reasoning": {"max_tokens": 2000}}),
        ("anthropic", 2000, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ("anthropic", "on", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("claude-sonnet-5-5", "on", {"thinking": ADAPTIVE}),
        ("claude-opus-4-6-20260205", "low", {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        ("claude-sonnet-4-20250514", 2000, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        ("claude-3-7-sonnet-20250219", "off", {"thinking": {"type": "disabled"}}),
        ("server", "on", {"chat_template_kwargs": THINKS}),
        ("server", "off", {"chat_template_kwargs": dict.fromkeys(THINKS, False)}),
        ("server", "low", {"reasoning_effort": "low", "chat_template_kwargs": THINKS}),
        ("server", 64, {"thinking_token_budget": 64, "chat_template_kwargs": {**THINKS, "thinking_budget": 64}}),
        ("lookalike", "on", {"chat_template_kwargs": THINKS}),
    ],
)
def test_every_host_is_asked_in_its_own_words(host: str, wanted: Any, fields: dict[str, Any]) -> None:
    assert body(host, wanted) == fields


def test_openais_own_hosts_get_the_name_that_they_take_for_max_tokens() -> None:
    of = {host: settings(host, max_tokens=9).endpoints[0].body([], {"max_tokens": 9}) for host in HOSTS}
    renamed = {host for host, body in of.items() if body.get("max_completion_tokens") == 9 and "max_tokens" not in body}
    assert renamed == {"openai", "azure"} and of["lookalike"]["max_tokens"] == 9


def test_extra_fields_are_joined_with_them_and_the_endpoints_own_come_last() -> None:
    own = [{"base_url": HOSTS["server"], "model": "m", "extra_body": {"priority": 3}}]
    mine = {"chat_template_kwargs": {"style": "short"}, "min_p": 0.1, "priority": 1}
    chosen = settings(endpoints=own, reasoning="on", extra_body=mine)
    assert chosen.asked_at(chosen.endpoints)[0].extra_body == {
        "chat_template_kwargs": {**THINKS, "style": "short"}, "min_p": 0.1, "priority": 3,
    }  # fmt: skip
    assert settings("server").asked_at(chosen.endpoints) == chosen.endpoints, "nothing is added without a setting"


@pytest.mark.parametrize(
    "values, said",
    [
        ({"hosts": ["openai"], "reasoning": 2000}, "reasoning: 2000: endpoints.0 (api.openai.com) takes on, off, low"),
        ({"hosts": ["server", "qwen"], "name": "m", "reasoning": "low"}, "endpoints.1 (dashscope-intl.aliyuncs.com)"),
        ({"hosts": ["server"], "reasoning": 4096}, "4096 tokens leave no answer with max_tokens 4096"),
        ({"hosts": ["server"], "reasoning": "much"}, "reasoning"),
        ({"hosts": ["server"], "reasoning": 0}, "reasoning"),
        ({"hosts": ["server"], "extra_body": {"messages": []}}, "extra_body.messages: requests have this field"),
        ({"hosts": [], "source": "labels", "reasoning": "on"}, "reasoning: source labels sends no requests"),
        ({"hosts": [], "source": "example", "extra_body": {"a": 1}}, "extra_body: source example sends no requests"),
        ({"hosts": [], "source": "vllm", "engine": {"model": "m"}, "reasoning": "low"}, "source vllm takes on or off"),
    ],
)
def test_what_a_host_cannot_be_asked_is_refused_before_anything_runs(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(*values.pop("hosts"), **values)
    assert said in str(refused.value)


def test_endpoints_that_would_answer_differently_are_no_one_teacher() -> None:
    def of(*bodies: dict[str, Any]) -> TeacherSettings:
        endpoints = [{"base_url": HOSTS["server"], "model": "m", "extra_body": body} for body in bodies]
        return settings(endpoints=endpoints)

    of({"provider": {"order": ["a"]}, "user": "x"}, {"service_tier": "flex"}, {})
    of({"min_p": 0.1}, {"min_p": 0.1, "priority": 2})
    with pytest.raises(ConfigError, match=r"endpoints\.1\.extra_body: thinking differs .* set teacher\.reasoning"):
        of({"provider": {}}, {"thinking": {"type": "enabled"}})


def test_without_them_requests_are_known_by_what_they_always_were_and_with_them_asked_anew() -> None:
    plain = settings("server")
    content = [{"role": "user", "content": "a question"}]
    assert Requests(plain)("a question") == make_request("m", content, plain.sampling(0))

    assert set(plain.identity()) == {"teacher", "sampling", "samples", "context"}
    changed = [
        settings("server", **values)
        for values in ({"reasoning": "on"}, {"reasoning": "off"}, {"reasoning": 9}, {"extra_body": {"min_p": 0.1}},
                       {"reasoning": "on", "extra_body": {"min_p": 0.1}})
    ]  # fmt: skip
    ids = {Requests(each)("a question").request_id for each in [plain, *changed]}
    assert len(ids) == len({json.dumps(each.identity()) for each in [plain, *changed]}) == 6
    assert Requests(plain)("a question").request_id in ids
    one, other = (settings(host, reasoning="on") for host in ("server", "deepseek"))
    assert one.identity() == other.identity() and one.asked_as == other.asked_as, "whoever is asked"


def test_what_thinks_in_a_stream_is_asked_for_one_and_read_with_its_tokens() -> None:
    def streams(asked: dict[str, Any]) -> Reply:
        deltas = [{"reasoning_content": "be"}, {"reasoning_content": "cause"}, {"content": "true"}]
        chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
        chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        chunks += [{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}]
        return 200, "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n", {}

    async def ask(url: str) -> Answered:
        client = Client(Endpoint(base_url=url, model="m", extra_body=body("qwen", "on")), "", 30, 1)
        try:
            return await client.ask([{"role": "user", "content": "?"}], {})
        finally:
            await client.close()

    with answering(streams) as (url, asked):
        reply = asyncio.run(ask(url))
    assert asked[0]["stream"] is True and asked[0]["stream_options"] == {"include_usage": True}
    assert (reply.reasoning, reply.content, reply.prompt_tokens, reply.completion_tokens) == ("because", "true", 7, 5)


def thinks_when_asked(asked: dict[str, Any]) -> Reply:
    """A hybrid model: the thinking field of DeepSeek, or vLLM's chat template."""
    wants = asked.get("thinking", {}).get("type") == "enabled" or asked.get("chat_template_kwargs", {}).get("thinking")
    return completion(reasoning="because it says so" if wants else "")


@pytest.mark.usefixtures("ray_here")
def test_two_hosts_of_one_hybrid_teacher_think_when_asked_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deepseek = next(form for form in reasoning.FORMS if form.name == "thinking")
    here = HostForm("thinking", ("localhost",), deepseek.fields, deepseek.takes)
    monkeypatch.setattr(reasoning, "FORMS", (here,))
    assert form_of("localhost:1").name == "thinking" and form_of("127.0.0.1:1").name == "chat_template_kwargs"
    pairs = make_pairs(6)
    with answering(thinks_when_asked) as (one, asked_one), answering(thinks_when_asked) as (two, asked_two):
        endpoints = [
            {"base_url": url, "model": "m", "in_flight": 2} for url in (one.replace("127.0.0.1", "localhost"), two)
        ]
        values: dict[str, Any] = {"endpoints": endpoints, "concurrency": 4, "require_reasoning": False}
        asked = {}
        for wanted in ("on", "off"):
            result = trace(pairs, settings(**values, reasoning=wanted), tmp_path, quiet=False)
            rows = list(read_rows(tmp_path, Trace))
            asked[wanted] = result["asked_now"]
            assert {bool(row.reasoning) for row in rows} == {wanted == "on"}
            assert {json.loads(row.teacher)["reasoning"] for row in rows} == {wanted}
        assert trace(pairs, settings(**values, reasoning="on"), tmp_path, quiet=False)["asked_now"] == 0
    assert asked == {"on": 6, "off": 6}
    assert all("thinking" in body and "chat_template_kwargs" not in body for body in asked_one)
    assert all("chat_template_kwargs" in body and "thinking" not in body for body in asked_two)
    said = capsys.readouterr().err
    assert said.count("the first answer held reasoning") == 2 and said.count("the first answer held no reasoning") == 2
