"""Which fault means what: bodies as providers send them."""

from __future__ import annotations

import pytest

from teacher.faults import Action, from_status, retry_after, scrubbed, shorten

SAID = [
    (400, "This model's maximum context length is 4096 tokens", "context_too_long", Action.ROW),
    (400, "max_tokens is too large: prompt is too long for max_model_len", "context_too_long", Action.ROW),
    (400, "Content Exists Risk", "content_filter", Action.ROW),
    (403, "your input was flagged by moderation", "content_filter", Action.ROW),
    (400, "messages must not be empty", "bad_request", Action.ROW),
    (422, "Model Not Exist", "no_such_model", Action.ENDPOINT),
    (404, "The model `x` does not exist.", "no_such_model", Action.ENDPOINT),
    (401, "Incorrect API key provided", "unauthorized", Action.ENDPOINT),
    (402, "Insufficient Balance", "no_credit", Action.ENDPOINT),
    (429, "You exceeded your current quota, please check your plan and billing", "no_credit", Action.ENDPOINT),
    (429, "Rate limit reached for requests", "rate_limited", Action.THROTTLED),
    (500, "internal", "server_error", Action.RETRY),
    (503, "overloaded", "overloaded", Action.RETRY),
    (408, "timeout", "server_error", Action.RETRY),
]  # fmt: skip


@pytest.mark.parametrize("status, body, kind, action", SAID)
def test_what_a_status_means(status: int, body: str, kind: str, action: Action) -> None:
    fault = from_status(status, body, {})
    assert (fault.kind, fault.action) == (kind, action) and str(status) in fault.message


def test_how_long_to_wait() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "1", "retry-after-ms": "250"}) == 0.25
    for nothing in ("Wed, 21 Oct 2015 07:28:00 GMT", "0", "0.0", "-5", "nan"):
        assert retry_after({"retry-after": nothing}) is None
    assert retry_after({"retry-after-ms": "0"}) is None and retry_after({"retry-after-ms": "inf"}) is None
    early = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:28:09 GMT"}
    assert retry_after(early) == 9  # by the server's clock, which is years behind
    assert retry_after({}) is None and retry_after({"retry-after": "soon"}) is None


def test_keys_are_taken_out_of_what_servers_quote() -> None:
    assert scrubbed("bad key abc-secret-xyz!", ["abc-secret-xyz"]) == "bad key [key]!"
    assert "sk-live" not in scrubbed("Incorrect API key provided: sk-live-0123456789", [])
    assert scrubbed("no key here", [""]) == "no key here"


def test_a_message_is_one_short_line() -> None:
    assert shorten("a\n b\t c") == "a b c" and len(shorten("x" * 999)) == 300
