"""Two hundred clients at once, some of whom go away: no answer is lost, none is another's. With a real student, too."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.records import make_pair
from distill.rerank.reranker import Reranker
from distill.rerank.serve.settings import ServeSettings
from tests.rerank.serving import WAIT_S, Scripted, get, post, score_of, serving, until

CLIENTS = 200
WORDS = ["red", "fox", "runs", "quick", "lazy", "dog", "sleeps", "old", "is", "it", "yes", "no", "the", "a"]


def question(rng: random.Random, number: int) -> dict[str, Any]:
    """A request that no other client makes."""
    documents = [" ".join(rng.choices(WORDS, k=rng.randint(2, 12))) for _ in range(rng.randint(1, 6))]
    return {"query": f"{number} {' '.join(rng.choices(WORDS, k=3))}", "documents": documents}


async def leave(url: str, body: dict[str, Any], wait: float) -> None:
    """Send a request, or its beginning, and go."""
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(body).encode()
    head = f"POST /v1/rerank HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    whole = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
    writer.write(whole if wait else whole[: len(whole) // 2])
    await writer.drain()
    await asyncio.sleep(wait)
    writer.transport.abort()


async def crowd(url: str, requests: list[dict[str, Any]], seed: int) -> list[Any]:
    """Each client asks, and before that, in one case of three, asks something and goes; returns the answers."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client(number: int) -> Any:
            rng = random.Random(f"{seed}:{number}")
            if rng.random() < 0.34:
                await leave(url, question(rng, 10_000 + number), rng.choice([0, 0.001, 0.01, 0.05]))
            async with session.post(f"{url}/v1/rerank", json=requests[number]) as answer:
                return answer.status, await answer.json()

        return await asyncio.gather(*(client(number) for number in range(len(requests))))


def check(requests: list[dict[str, Any]], answers: list[Any], expected: Any, tolerance: float) -> None:
    """Each answer has each document of its own request once, with the score that belongs to it."""
    for asked, (status, answer) in zip(requests, answers, strict=True):
        assert status == 200, answer
        assert sorted(row["index"] for row in answer["results"]) == list(range(len(asked["documents"])))
        for row in answer["results"]:
            text = asked["documents"][row["index"]]
            assert row["document"]["text"] == text
            assert row["relevance_score"] == pytest.approx(expected[asked["query"], text], abs=tolerance)


def test_two_hundred_clients_and_nothing_lost_or_mixed_up() -> None:
    engine = Scripted()
    for seed in range(2):
        requests = [question(random.Random(f"q{seed}:{n}"), n) for n in range(CLIENTS)]
        expected = {(r["query"], text): score_of(r["query"], text) for r in requests for text in r["documents"]}
        engine.gate.clear()
        with serving(engine, ServeSettings(client_share=1)) as server:
            held = threading.Timer(0.5, engine.gate.set)  # so that many are inside before the first is judged
            held.start()
            answers = asyncio.run(crowd(server.url, requests, seed))
            check(requests, answers, expected, 0)
            until(lambda desk=server.desk: desk.waiting == 0 and engine.running == 0)
    assert engine.most > 20, "they were inside together"


def test_a_real_student_answers_a_crowd_as_it_answers_one(tiny: Path) -> None:
    requests = [question(random.Random(f"r{n}"), n) for n in range(CLIENTS)]
    alone = Reranker(str(tiny), "direct")
    pairs = [make_pair("0", "0", r["query"], text) for r in requests for text in r["documents"]]
    expected = {(p.query, p.passage): j.score for p, j in zip(pairs, alone.predict(pairs), strict=True)}
    reranker = Reranker(str(tiny), "direct")
    with serving(reranker.stream(), explain_plan=reranker.explain_plan()) as server:
        answers = asyncio.run(crowd(server.url, requests, 7))
        check(requests, answers, expected, 1e-4)
        status, said, _ = post(server.url + "/v1/explain", {"query": "red fox", "document": "the fox runs"})
        assert status == 200 and said["mode"] == "think" and said["usage"]["total_tokens"] > 1
        until(lambda: server.desk.waiting == 0)


@pytest.mark.slow
def test_the_command_serves_drains_and_ends_well(tiny: Path) -> None:
    """The process itself: its address on standard output, SIGTERM while it thinks, all answered, exit status 0."""
    command = [sys.executable, "-m", "distill.cli", "serve", "--model", str(tiny), "--port", "0", "--mode", "think"]
    process = subprocess.Popen([*command, "drain_s=120", "timeout_s=120"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url, _, what = process.stdout.readline().strip().partition("  ")
        assert what == f"{tiny.name} (think)"
        answers: list[Any] = []
        body = {"query": "red fox", "documents": [f"the dog sleeps {n}" for n in range(48)]}
        thread = threading.Thread(target=lambda: answers.append(post(url + "/v1/rerank", body)))
        thread.start()
        until(lambda: json.loads(get(url + "/healthz")[1])["waiting"] == 48)
        process.send_signal(signal.SIGTERM)
        thread.join(2 * WAIT_S)
        assert answers[0][0] == 200 and len(answers[0][1]["results"]) == 48
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
