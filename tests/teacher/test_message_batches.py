"""Anthropic's Message Batches against a server that speaks them: submitted, polled, fetched, resumed, never paid twice.

The server's answers have the shapes of Anthropic's Python client (2.14), which has read them.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from distill.config import validate
from distill.errors import ConfigError, Stopped
from distill.records import Trace
from distill.store import read_json, read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs
from tests.teacher.test_gateways import calls, command

MODEL = "claude-sonnet-5-5"
PRICE = {"input": 2000.0, "cached_input": 100.0, "output": 10000.0}


def succeeded(request: dict[str, Any]) -> dict[str, Any]:
    """A result: thinking, which is shown in short, and text."""
    blocks = [
        {"type": "thinking", "thinking": f"about {request['custom_id']}", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "text", "text": "true"},
    ]
    usage = {"input_tokens": 40, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0, "output_tokens": 50}
    usage |= {"output_tokens_details": {"thinking_tokens": 45}, "service_tier": "batch"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": blocks}
    message |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    return {"type": "succeeded", "message": message}


def errored(kind: str, message: str) -> dict[str, Any]:
    """A result: the request has failed, and is not billed."""
    return {
        "type": "errored",
        "error": {"type": "error", "request_id": "r", "error": {"type": kind, "message": message}},
    }


class Api(BaseHTTPRequestHandler):
    """Message Batches; every one ends when it has been looked at twice. `outcome(batch's number, request's number)` is
    a result other than success; `lose` submissions get no answer; keys in `refused` get 401."""

    batches: dict[str, dict[str, Any]]
    requests: dict[str, list[dict[str, Any]]]
    asked: Counter[str]
    headers_seen: list[dict[str, str]]
    refused: set[str]
    lose = 0

    @staticmethod
    def outcome(batch: int, number: int) -> dict[str, Any] | None:
        """All succeed."""
        return None

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """A batch, its results, or all batches."""
        if not self._allowed():
            return
        if found := re.search(r"/batches/([^/?]+)/results", self.path):
            return self._send("\n".join(map(json.dumps, self._results(found[1]))), "application/x-jsonl")
        if found := re.search(r"/batches/([^/?]+)$", self.path):
            batch = self.batches[found[1]]
            batch["polls"] += 1
            if batch["polls"] >= 2:
                self._end(batch)
            return self._send(json.dumps(batch))
        listed = sorted(self.batches.values(), key=lambda batch: batch["id"], reverse=True)
        self._send(json.dumps({"data": listed, "has_more": False, "first_id": None, "last_id": None}))

    def do_POST(self) -> None:
        """A new batch."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        batch = self.submit(body["requests"])
        if self.lose:
            type(self).lose -= 1
            self.close_connection = True
            return
        self._send(json.dumps(batch))

    @classmethod
    def submit(cls, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Take a batch in."""
        name, now = f"msgbatch_{len(cls.batches)}", datetime.now(UTC).isoformat()
        counts = {"processing": len(requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        cls.batches[name] = {
            "id": name, "type": "message_batch", "processing_status": "in_progress", "request_counts": counts,
            "created_at": now, "expires_at": now, "ended_at": None, "results_url": None, "polls": 0,
        }  # fmt: skip
        cls.requests[name] = requests
        cls.asked.update(request["custom_id"] for request in requests)
        return cls.batches[name]

    def _results(self, name: str) -> list[dict[str, Any]]:
        number = list(self.batches).index(name)
        return [
            {"custom_id": request["custom_id"], "result": self.outcome(number, n) or succeeded(request)}
            for n, request in enumerate(self.requests[name])
        ]

    def _end(self, batch: dict[str, Any]) -> None:
        counts = Counter(result["result"]["type"] for result in self._results(batch["id"]))
        batch["request_counts"] = {**dict.fromkeys(batch["request_counts"], 0), **counts}
        batch |= {
            "processing_status": "ended",
            "ended_at": batch["created_at"],
            "results_url": "https://hidden.example",
        }

    def _allowed(self) -> bool:
        self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        allowed = self.headers["x-api-key"] not in self.refused
        if not allowed:
            error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
            self._send(json.dumps(error), status=401)
        return allowed

    def _send(self, text: str, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def api() -> Iterator[tuple[type[Api], str]]:
    """A fresh API and its URL."""
    fresh = {"batches": {}, "requests": {}, "asked": Counter(), "headers_seen": [], "refused": set()}
    handler = type("Handler", (Api,), fresh)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def settings(url: str, endpoint: dict[str, Any] | None = None, **values: Any) -> TeacherSettings:
    """Settings that name the API."""
    endpoints = [{"base_url": url, "model": MODEL, "price": PRICE, **(endpoint or {})}]
    batch = {"api": "anthropic", "poll_s": 0.01}
    given = {"source": "batch", "endpoints": endpoints, "batch": batch, "temperature": 1, "reasoning": "on", **values}
    return validate(TeacherSettings, given, "my.yaml")


def test_results_become_traces_and_only_what_expired_or_failed_is_asked_again(
    api: tuple[type[Api], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = api
    monkeypatch.setenv("CLAUDE_KEY", "k")

    def outcome(batch: int, number: int) -> dict[str, Any] | None:
        first = [None, {"type": "expired"}, errored("overloaded_error", "busy"), {"type": "canceled"}]
        if batch == 0 and number == 7:
            return errored("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
        return first[number % 4] if batch == 0 else None

    handler.outcome = staticmethod(outcome)
    counts = trace(make_pairs(12), settings(url, {"api_key_env": "CLAUDE_KEY"}), tmp_path, quiet=True)
    rows = list(read_rows(tmp_path, Trace))
    assert (counts["answered"], counts["failures"]) == (11, {"context_too_long": 1})
    assert all(row.reasoning == f"about {row.request_id}" and row.verdict == 1 for row in rows if not row.error)
    assert Counter(handler.asked.values()) == {1: 4, 2: 8} and len(handler.batches) == 2
    each = (40 * 2000 + 60 * 100 + 50 * 10000) / 1e6
    assert counts["cost_usd"] == pytest.approx(11 * each / 2), "half of everything, cached input as well"
    assert counts["prompt_tokens"] == 1100
    params = handler.requests["msgbatch_0"][0]["params"]
    assert set(params) == {"model", "messages", "max_tokens", "thinking"}, "Claude takes no temperature while it thinks"
    assert params["thinking"] == {"type": "adaptive", "display": "summarized"}
    for seen in handler.headers_seen:
        assert (seen["x-api-key"], seen["anthropic-version"]) == ("k", "2023-06-01") and "authorization" not in seen
    again = trace(make_pairs(12), settings(url, {"api_key_env": "CLAUDE_KEY"}), tmp_path, quiet=True)
    assert again["asked_now"] == 0 and len(handler.batches) == 2


@pytest.mark.parametrize("lost", ["the answer", "the note"])
def test_a_batch_whose_submission_was_lost_is_found_by_its_results_and_not_submitted_twice(
    api: tuple[type[Api], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    handler, url = api
    if lost == "the answer":  # the connection breaks once the batch is made
        handler.lose = 1
    else:  # the run is killed between the submission and the note of it
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
            trace(make_pairs(5), settings(url), tmp_path, quiet=True)
        state = tmp_path / "batch" / "00000.state.jsonl"
        state.write_text(json.dumps({"since": (read_json(state) or {})["since"]}))
        handler.submit([{"custom_id": f"other-{n}", "params": {}} for n in range(5)])  # another's, of the same size
    counts = trace(make_pairs(5), settings(url), tmp_path, quiet=True)
    ours = [number for key, number in handler.asked.items() if not key.startswith("other")]
    assert counts["answered"] == 5 and ours == [1] * 5


def test_a_key_that_expires_while_a_batch_goes_on_is_renewed_and_without_another_the_run_stops_with_nothing_lost(
    api: tuple[type[Api], str], tmp_path: Path
) -> None:
    handler, url = api

    def end(self: Api, batch: dict[str, Any]) -> None:
        """The first key is refused once the batch could end."""
        self.refused.add("key-1")
        if self.headers["x-api-key"] != "key-1":
            Api._end(self, batch)

    handler._end = end  # type: ignore[method-assign]
    text = "print('key-1') if number < 3 else print(f'key-{number}')"
    chosen = settings(url, {"api_key_command": command(tmp_path, text)})
    with pytest.raises(Stopped, match="gives the same key again, which is refused; the batch goes on"):
        trace(make_pairs(4), chosen, tmp_path / "traces", quiet=True)
    assert calls(tmp_path) == 2
    failing = settings(url, {"api_key_command": command(tmp_path, "sys.exit('no login')")})
    handler.refused.clear()
    with pytest.raises(ConfigError, match="ended with status 1: no login"):
        trace(make_pairs(4), failing, tmp_path / "traces", quiet=True)
    counts = trace(make_pairs(4), settings(url, {"api_key_command": command(tmp_path, text)}), tmp_path / "traces")
    assert counts["answered"] == 4 and set(handler.asked.values()) == {1}, "the batch was found again"


@pytest.mark.parametrize(
    "values, said",
    [
        ({"seed": 1}, "seed: Anthropic's messages have none"),
        ({"temperature": 0.6}, "temperature: Claude thinks at 1 and no other; set temperature: 1 (0.6)"),
        ({"reasoning": 2000}, "takes on, off, and low, medium or high from Claude 4.6 on, a number of tokens before"),
    ],
)
def test_what_its_messages_lack_is_refused_before_anything_is_sent(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings("http://127.0.0.1:9/v1", **values)
    assert said in str(refused.value)


def test_at_anthropics_host_its_protocol_is_spoken_without_being_named() -> None:
    chosen = settings("https://api.anthropic.com/v1", batch={}).made_source()
    assert (
        chosen.anthropic and not settings("https://api.openai.com/v1", batch={}, reasoning="on").made_source().anthropic
    )  # type: ignore[attr-defined]
