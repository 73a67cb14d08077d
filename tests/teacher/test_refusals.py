"""What is said when a server cannot be asked: certificates, keys, credit, models, URLs, settings."""

# ruff: noqa: E501  sentences of servers are kept whole

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError, EndpointError, Stopped
from teacher.endpoint import Endpoint
from teacher.faults import Action, from_status
from teacher.index import JournalIndex
from teacher.journal import Journal
from teacher.preflight import preflight
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for
from tests.teacher.http_servers import Reply, answering, certificate, completion


def refused(url: str, **sampling: Any) -> str:
    """What the first probe says about an endpoint that it refuses."""
    from pydantic import SecretStr

    endpoint = Endpoint(base_url=url, model="r1", api_key_env="TEACHER_KEY")
    with pytest.raises((EndpointError, Stopped)) as told:
        preflight([endpoint], [SecretStr("secret-key")], 3.0, sampling)
    text = str(told.value)
    assert text.startswith(f"teacher.endpoints.0 ({url}): ") and "\n" not in text and "secret-key" not in text
    return text


def error(status: int, message: str, **rest: Any) -> Reply:
    """An error in OpenAI's form."""
    return status, json.dumps({"error": {"message": message, **rest}}), {}


def test_a_certificate_that_is_not_trusted_is_told_with_the_remedy_and_the_remedy_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydantic import SecretStr

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    own = certificate(tmp_path / "own.pem")
    with answering(lambda _: completion(), own) as (url, _):
        host = re.escape(url.split("/")[2])
        assert re.search(rf"certificate of {host} is not trusted \(self.signed.*SSL_CERT_FILE", refused(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(own))
        assert len(preflight([Endpoint(base_url=url, model="r1")], [SecretStr("")], 3.0, {})) == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        with pytest.raises(ConfigError, match="SSL_CERT_FILE=.*missing.pem: cannot be read"):
            preflight([Endpoint(base_url=url, model="r1")], [SecretStr("")], 3.0, {})


@pytest.mark.parametrize(
    ("host", "days", "said"),
    [("other.example", 30, "is for another host.*host name"), ("127.0.0.1", -2, "not valid today.*expired.*clock")],
)
def test_a_trusted_certificate_of_another_host_or_day(
    host: str, days: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certificate(tmp_path / "own.pem", host, days)
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    with answering(lambda _: completion(), own) as (url, _):
        assert re.search(f"certificate: the certificate of 127.0.0.1:.*{said}", refused(url))


def test_http_and_https_taken_for_one_another(tmp_path: Path) -> None:
    with answering(lambda _: completion()) as (url, _):
        assert re.search("does not speak TLS; write http:// in base_url", refused(url.replace("http:", "https:")))
    with answering(lambda _: completion(), certificate(tmp_path / "own.pem")) as (url, _):
        assert re.search("speaks TLS only; write https:// in base_url", refused(url.replace("https:", "http:")))
    nginx = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
    with answering(lambda _: (400, nginx, {})) as (url, _):
        assert "write https:// in base_url" in refused(url)


REFUSALS = [
    (error(401, "Incorrect API key provided: secret-key"), r"unauthorized: HTTP 401: Incorrect.*\[key\]; check the key in TEACHER_KEY"),
    (error(403, "Your plan does not include this."), "forbidden: HTTP 403: Your plan.*; check what the key may do"),
    ((403, "<!DOCTYPE html><title>Just a moment...</title>", {}), "forbidden: HTTP 403: a web page, 'Just a moment...'"),
    (error(404, "The model `r1` does not exist.", code="model_not_found"), "no_such_model: .*check the model name 'r1'"),
    (error(404, 'model "r1" not found, try pulling it first'), "no_such_model: .*check the model name 'r1'"),
    (error(400, "r1 is not a valid model ID"), "no_such_model: .*check the model name 'r1'"),
    ((404, json.dumps({"detail": "Not Found"}), {}), "no_such_url: HTTP 404: .*check base_url"),
    ((405, "Method Not Allowed", {}), "no_such_url: HTTP 405: Method.*check base_url"),
    ((200, "\n<html><head><title>Welcome to nginx!</title></head></html>", {}), "html_page: .*'Welcome to nginx!'; check base_url"),
    ((302, "", {"Location": "/login?next=secret-key"}), "redirected to http://127.0.0.1:[0-9]+/login: .*'Sign in'; check base_url"),
    ((200, '{"status": "running"}', {}), "malformed: not a chat completion.*check base_url"),
    (error(400, "This model's maximum context length is 4096 tokens"), "context_too_long: .*lower teacher.max_tokens, or set teacher.context"),
    (error(400, "the request exceeds the available context size (512 tokens)"), "context_too_long: .*teacher.context"),
    (error(400, "Unsupported value: 'temperature' does not support 0.6", param="temperature", code="unsupported_value"),
     r"bad_request: HTTP 400: Unsupported value.*\(unsupported_value\); check the sampling settings"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "said"), REFUSALS)
def test_a_refusal_is_one_line_with_its_remedy(reply: Reply, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teacher.preflight.PAUSE_S", 0.01)
    with answering(lambda _: reply) as (url, _):
        assert re.search(said, refused(url))


def test_a_401_where_no_key_is_named_says_which_setting_names_it() -> None:
    from pydantic import SecretStr

    with (
        answering(lambda _: error(401, "no key")) as (url, _),
        pytest.raises(EndpointError, match="set the endpoint's api_key_env to the name"),
    ):
        preflight([Endpoint(base_url=url, model="r1")], [SecretStr("")], 3.0, {})


def test_the_probe_sends_the_settings_of_the_run() -> None:
    from pydantic import SecretStr

    settings = settings_for(Server("http://127.0.0.1:9/v1"), temperature=1.5, top_p=0.9, seed=7)

    def no_top_p(body: dict[str, Any]) -> Reply:
        return error(400, "top_p and temperature cannot both be set") if "top_p" in body else completion()

    with answering(no_top_p) as (url, received):
        endpoint = Endpoint(base_url=url, model="r1", extra_body={"reasoning_effort": "high"})
        with pytest.raises(EndpointError, match="bad_request: HTTP 400: top_p and temperature.*extra_body"):
            preflight([endpoint], [SecretStr("")], 3.0, settings.sampling(0))
    expected = {"temperature": 1.5, "top_p": 0.9, "seed": 7, "max_tokens": 512, "reasoning_effort": "high"}
    assert expected.items() <= received[0].items()


def test_a_probe_that_takes_too_long_is_asked_for_a_short_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from pydantic import SecretStr

    def slow(body: dict[str, Any]) -> Reply:
        time.sleep(1.0 if body["max_tokens"] > 16 else 0.0)
        return completion()

    with answering(slow) as (url, received):
        bills = preflight([Endpoint(base_url=url, model="r1")], [SecretStr("")], 0.5, {"max_tokens": 4096})
    assert len(bills) == 1 and [body["max_tokens"] for body in received] == [4096, 16]


# (status, body): as OpenAI, DeepSeek, OpenRouter, Anthropic, xAI, Hugging Face, Moonshot and Alibaba write them
NO_CREDIT: list[Reply] = [
    error(429, "You exceeded your current quota, please check your plan and billing details.", code="insufficient_quota"),
    (402, '{"error": {"message": "Insufficient Balance", "type": "unknown_error"}}', {}),
    error(402, "This request requires more credits, or fewer max_tokens. You can only afford 12.", code=402),
    (400, '{"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to '
     'access the Anthropic API. Please go to Plans & Billing."}}', {}),
    (403, '{"code": "x", "error": "Your team has either used all available credits or reached its monthly limit."}', {}),
    (402, '{"error": "You have exceeded your monthly included credits for Inference Providers."}', {}),
    error(429, "Your account org-x is suspended, please check your plan", type="exceeded_current_quota_error"),
    error(400, "Access denied, please make sure your account is in good standing.", code="Arrearage"),
    error(200, "Insufficient credits. Add more.", code=402),
    error(200, "You exceeded your current quota", type="insufficient_quota"),
]  # fmt: skip


@pytest.mark.parametrize("reply", NO_CREDIT)
def test_an_account_without_credit_at_the_start_stops_with_work_left(reply: Reply) -> None:
    with answering(lambda _: reply) as (url, _):
        said = refused(url)
    assert "no_credit: HTTP" in said and "top it up" in said and "nothing is lost" in said


@pytest.mark.parametrize(
    "body",
    [
        "Rate limit reached for requests per min (RPM): Limit 3. Please add a payment method: /account/billing",
        "You exceeded your current quota, please check your plan and billing details. Please retry in 32.5s.",
        "Quota exceeded for metric: generate_content_requests, limit: 10 per minute",
    ],
)
def test_a_limit_a_minute_is_no_exhausted_account(body: str) -> None:
    fault = from_status(429, body, {})
    assert (fault.kind, fault.action) == ("rate_limited", Action.THROTTLED)


def test_a_passage_about_billing_puts_no_endpoint_out() -> None:
    assert from_status(400, "messages.0: invalid 'billing and payment of quotas'", {}).kind == "bad_request"


def test_credit_that_ends_while_asking_stops_and_fails_no_row(ray_here: None, tmp_path: Path) -> None:
    asked = 0

    def until_30(body: dict[str, Any]) -> Reply:
        nonlocal asked
        asked += 1
        return completion() if asked <= 30 else NO_CREDIT[3]

    with answering(until_30) as (url, _):
        settings = settings_for(Server(url), concurrency=4)
        with pytest.raises(Stopped, match="no endpoint is left.*credit balance is too low.*top it up"):
            trace(make_pairs(60), settings, tmp_path, quiet=True)
        asked = -1000
        counts = trace(make_pairs(60), settings, tmp_path, quiet=True)
    assert (counts["answered"], counts["failed"]) == (60, 0) and counts["asked_now"] == 31
    index = JournalIndex(Journal(tmp_path / "journal", tmp_path / "scratch"), tmp_path / "index")
    assert index.spent_tokens > 0
