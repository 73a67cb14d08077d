"""The server over real HTTP: protocols, limits, keys, disconnects, a broken engine, draining."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.cli import main
from distill.rerank.serve.settings import ServeSettings
from tests.rerank.serving import Scripted, get, post, score_of, serving, until

ASKED = {"query": "what is a fox", "documents": ["a fox is an animal", "the sea", {"text": "foxes", "title": "On"}]}


@pytest.fixture
def engine() -> Scripted:
    return Scripted()


@pytest.fixture
def server(engine: Scripted) -> Iterator[Any]:
    with serving(engine) as server:
        yield server
    assert server.desk.waiting == 0 and engine.running == 0


def in_background(url: str, body: Any) -> tuple[threading.Thread, list[Any]]:
    """A request in a thread, and the list that its answer goes to."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(post(url, body)))
    thread.start()
    return thread, answers


@pytest.mark.parametrize(("path", "shown"), [("/v1/rerank", True), ("/v2/rerank", False)])
def test_the_best_comes_first_with_the_index_it_had(server: Any, path: str, shown: bool) -> None:
    texts = ["a fox is an animal", "the sea", "On foxes"]
    expected = sorted(((score_of(ASKED["query"], text), at) for at, text in enumerate(texts)), reverse=True)
    status, answer, _ = post(server.url + path, ASKED)
    assert status == 200 and answer["model"] == "my-student" and answer["usage"]["total_tokens"] == 21
    assert [(row["relevance_score"], row["index"]) for row in answer["results"]] == expected
    documents = [row.get("document") for row in answer["results"]]
    given = [{"text": texts[0]}, {"text": texts[1]}, ASKED["documents"][2]]
    assert documents == ([given[at] for _, at in expected] if shown else [None] * 3), "an object as it came"
    assert answer["meta"]["api_version"]["version"] == path[2]


def test_top_n_documents_reasoning_and_unknown_keys(server: Any) -> None:
    more = {"top_n": 2, "return_documents": False, "return_reasoning": True, "max_tokens_per_doc": 9, "instrution": "x"}
    _, answer, _ = post(server.url + "/v1/rerank", {**ASKED, **more, "model": "my-student"})
    assert len(answer["results"]) == 2 and all("document" not in row for row in answer["results"])
    assert {row["reasoning"] for row in answer["results"]} == {"because"}
    assert answer["meta"]["warnings"] == ["max_tokens_per_doc has no effect here", "instrution is not known here"]


def test_explain_tells_verdict_and_reasoning(server: Any) -> None:
    status, answer, _ = post(server.url + "/v1/explain", {"query": "q", "document": "d", "instruction": "i"})
    score = score_of("q", "d")
    assert status == 200 and answer["reasoning"] == "because" and answer["relevance_score"] == score
    assert answer["verdict"] is (score > 0.5) and answer["usage"]["total_tokens"] == 7


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b'{"query": "q", "documents": ' + b"[" * 100_000, 400, "no JSON"),
        ({"query": "q"}, 422, "documents: Field required"),
        ({"query": "q", "documents": []}, 422, "documents"),
        ({"query": "q", "documents": [3]}, 422, "documents"),
        ({"query": "", "documents": ["d"]}, 422, "query"),
        (b'{"query": "\\ud800", "documents": ["d"]}', 422, "unicode"),
        ({"query": "q", "documents": ["d"], "top_n": 0}, 422, "top_n"),
        ({"query": "q", "documents": ["d"], "mode": "thinking"}, 422, "this server answers in mode"),
        ({"query": "unjudgeable", "documents": ["d"]}, 422, "it alone is longer"),
        ({"query": "q", "documents": ["d"], "model": "other"}, 404, "this is 'my-student'"),
        ({"query": "q", "documents": ["d"] * 6}, 413, "6 documents; at most 5"),
        ({"query": "q", "documents": ["d" * 101]}, 413, "a document of 101 characters; at most 100"),
        ({"query": "q" * 101, "documents": ["d"]}, 413, "a query of 101"),
        ({"query": "q", "documents": ["d"], "instruction": "i" * 101}, 413, "an instruction of 101".replace("an", "a")),
        (b'{"query": "' + b"q" * 30_000 + b'"}', 413, "larger than 0.02 MB"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(engine: Scripted, body: Any, status: int, said: str) -> None:
    settings = ServeSettings(max_documents=5, max_characters=100, max_body_mb=0.02 if status == 413 else 1)
    with serving(engine, settings) as server:
        found, answer, _ = post(server.url + "/v1/rerank", body)
        assert (found, said in answer["message"]) == (status, True), answer
        assert post(server.url + "/v1/rerank", {"query": "q", "documents": ["d"]})[0] == 200, "it goes on"


def test_other_sites_pages_are_kept_out(server: Any) -> None:
    body = json.dumps(ASKED).encode()
    assert post(server.url + "/v1/rerank", body, {"Content-Type": "text/plain"})[0] == 415
    assert post(server.url + "/v1/rerank", body, {"Host": "evil.example"})[0] == 400
    assert get(server.url + "/", {"Host": "evil.example"})[0] == 400


def test_a_key_is_asked_for_where_one_is_set(engine: Scripted) -> None:
    with serving(engine, api_key="s3cret") as server:
        for path in ("/v1/rerank", "/v2/rerank", "/v1/explain"):
            assert post(server.url + path, ASKED)[0] == 401
            assert post(server.url + path, ASKED, {"Authorization": "Bearer s3cre"})[0] == 401
        assert post(server.url + "/v1/rerank", ASKED, {"Authorization": "Bearer s3cret"})[0] == 200
        assert get(server.url + "/metrics")[0] == 401 and get(server.url + "/healthz")[0] == 200
        assert "s3cret" not in get(server.url + "/metrics", {"Authorization": "Bearer s3cret"})[1]


def test_a_full_queue_says_when_to_come_again(engine: Scripted) -> None:
    engine.gate.clear()
    with serving(engine, ServeSettings(max_waiting=5)) as server:
        thread, answers = in_background(server.url + "/v1/rerank", ASKED)
        until(lambda: server.desk.waiting == 3)
        status, answer, headers = post(server.url + "/v1/rerank", ASKED)
        assert status == 429 and "room for 5" in answer["message"] and int(headers["Retry-After"]) > 0
        engine.gate.set()
        thread.join()
        assert answers[0][0] == 200 and post(server.url + "/v1/rerank", ASKED)[0] == 200


def test_an_answer_that_takes_too_long_is_given_up(engine: Scripted) -> None:
    engine.gate.clear()
    with serving(engine, ServeSettings(timeout_s=0.3)) as server:
        status, answer, _ = post(server.url + "/v1/rerank", ASKED)
        assert status == 504 and "within 0.3 s" in answer["message"]
        until(lambda: engine.cancelled and not engine.running)
        engine.gate.set()
        assert post(server.url + "/v1/rerank", ASKED)[0] == 200


def test_a_client_that_goes_leaves_nothing_behind(engine: Scripted) -> None:
    engine.gate.clear()
    with serving(engine) as server:
        body = json.dumps(ASKED).encode()
        host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
        head = f"POST /v1/rerank HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, port)) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: engine.running == 1)
        until(lambda: engine.cancelled and not engine.running and server.desk.waiting == 0)
        with socket.create_connection((host, port)) as connection:  # one that goes before it has said all
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
        engine.gate.set()
        assert post(server.url + "/v1/rerank", ASKED)[0] == 200
        assert 'distill_given_up_total{why="client gone"} 1.0' in get(server.url + "/metrics")[1]


def test_a_large_request_does_not_hold_up_a_small_one(engine: Scripted) -> None:
    engine.gate.clear()
    with serving(engine) as server:
        large, _ = in_background(server.url + "/v1/rerank", {"query": "large", "documents": ["d"] * 400})
        until(lambda: engine.running == 1)
        small, _ = in_background(server.url + "/v1/rerank", {"query": "small", "documents": ["d"] * 3})
        until(lambda: engine.running == 2)
        engine.gate.set()
        large.join(), small.join()
    last = max(at for at, query in enumerate(engine.order) if query == "small")
    assert last < 20 and len(engine.order) == 403


def test_a_step_that_fails_fails_its_requests_and_no_others() -> None:
    engine = Scripted(breaks=1)
    with serving(engine) as server:
        status, answer, _ = post(server.url + "/v1/rerank", ASKED)
        assert status == 503 and "out of memory" in answer["message"]
        assert post(server.url + "/v1/rerank", ASKED)[0] == 200 and get(server.url + "/healthz")[0] == 200


def test_an_engine_that_is_broken_for_good_is_seen_at_healthz() -> None:
    with serving(Scripted(breaks=99)) as server:
        assert [post(server.url + "/v1/rerank", ASKED)[0] for _ in range(4)] == [503] * 4
        status, text, _ = get(server.url + "/healthz")
        assert status == 503 and json.loads(text)["status"] == "the engine has stopped"


def test_told_to_stop_it_answers_what_it_has_taken(engine: Scripted) -> None:
    engine.gate.clear()
    with serving(engine) as server:
        thread, answers = in_background(server.url + "/v1/rerank", ASKED)
        until(lambda: engine.running == 1)
        server.should_exit = True
        until(lambda: not server.servers or not server.servers[0].is_serving())
        with pytest.raises(OSError):
            post(server.url + "/v1/rerank", ASKED)
        engine.gate.set()
        thread.join()
        assert answers[0][0] == 200 and len(answers[0][1]["results"]) == 3


def test_metrics_count_requests_pairs_and_tokens(server: Any) -> None:
    post(server.url + "/v1/rerank", ASKED), post(server.url + "/v1/rerank", {"query": "q"})
    text = get(server.url + "/metrics")[1]
    assert 'distill_requests_total{path="/v1/rerank",status="200"} 1.0' in text
    assert 'distill_requests_total{path="/v1/rerank",status="422"} 1.0' in text
    assert 'distill_pairs_total{finish="stop"} 3.0' in text and "distill_tokens_total 21.0" in text
    assert 'distill_request_seconds_count{path="/v1/rerank"} 1.0' in text and "distill_waiting_pairs 0.0" in text
    assert json.loads(get(server.url + "/healthz")[1]) == {
        "status": "ok", "model": "my-student", "mode": "think", "waiting": 0, "running": 0,
    }  # fmt: skip


def test_the_page_takes_no_script_but_its_own(server: Any) -> None:
    _, first, headers = get(server.url + "/")
    _, second, _ = get(server.url + "/")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and first != second, "a nonce is used once"
    assert policy.partition("script-src 'nonce-")[2].partition("'")[0] in first
    assert "innerHTML" not in first and "http" not in first.replace("http-", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "set a key and name its variable"),
        (["--client-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY, which is not set"),
        (["max_document=3"], "did you mean 'max_documents'"),
        (["--mode", "directly"], "directly"),
    ],
)
def test_a_wrong_call_is_one_line(
    tiny: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert main(["serve", "--model", str(tiny), "--port", "0", *options]) == 2
    said_all = capsys.readouterr().err
    assert said in said_all and said_all.count("\n") == 1
