"""Latency against offered load, and how much of the reranker's own speed is left behind HTTP.

    python benchmarks/serving/run.py --write            # about two minutes
    python benchmarks/serving/run.py --against FOLDER   # an earlier checkout, in turn with this one; about two minutes

A student with random weights of the quickstart's shape (--model takes another), mode direct, ten passages a request.
First the pairs a second of `Reranker.predict` in one process, then those of the server under 64 clients
that ask again at once, then arrivals at random (Poisson) at shares of that capacity, each from a client of its own.
Latency is from arrival to the answer's last byte. --write puts baseline.json beside this file. --against compares the
capacity of two checkouts, measured in turn; it fails where the time of this one is above 1.05 of the other's, the whole
interval (95 %, of the rounds' ratios) over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import aiohttp

from distill.example.world import WorldSettings, build
from distill.prompts import rank1_prompt
from distill.records import make_pair
from distill.rerank.reranker import Reranker

SHARES = (0.25, 0.5, 0.75, 0.9, 1.2)
DOCUMENTS = 10
CLIENTS = 64
MOST = 1.05  # of the earlier checkout's time
T_95 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}  # Student's t by rounds, both sides


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a student's folder (default: random weights)")
    parser.add_argument("--mode", default="direct")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each measurement (default 12)")
    parser.add_argument("--write", action="store_true", help="write baseline.json")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="of --against (default 5)")
    given = parser.parse_args()
    if given.against:
        return compare(given.against, given.mode, given.seconds, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        requests = texts()
        model = given.model or student(Path(folder), requests)
        found: dict[str, Any] = {"alone_pairs_per_s": alone(model, given.mode, requests, given.seconds)}
        with serving(model, given.mode) as url:
            asyncio.run(measure(url, requests, given.seconds, found))
    found["of_the_rerankers_own_speed"] = round(found["capacity"]["pairs_per_s"] / found["alone_pairs_per_s"], 3)
    print(table(found))
    if given.write:
        about = {"machine": f"{platform.machine()}, {os.cpu_count()} cores shared by server and clients"}
        about |= {"command": "python benchmarks/serving/run.py --write", "mode": given.mode, "documents": DOCUMENTS}
        about |= {"python": platform.python_version(), "seconds": given.seconds}
        path = Path(__file__).parent / "baseline.json"
        path.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")
    return 0


@contextmanager
def serving(model: str, mode: str, checkout: Path | None = None) -> Iterator[str]:
    """A server of this checkout, or of another; its address."""
    command = [sys.executable, "-m", "distill.cli", "serve", "--model", model, "--mode", mode, "--port", "0"]
    environment = {**os.environ, **({"PYTHONPATH": str(checkout)} if checkout else {})}
    server = subprocess.Popen(
        [*command, "client_share=1"], stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[0]
    finally:
        server.terminate()
        server.wait(60)


def compare(other: Path, mode: str, seconds: float, rounds: int) -> int:
    """Both checkouts' capacity in turn, and the ratio of their times; 1 where this one is slower for certain."""
    with tempfile.TemporaryDirectory() as folder:
        requests = texts()
        model = student(Path(folder), requests)
        here = Path(__file__).resolve().parents[2]
        with serving(model, mode, other.resolve()) as old, serving(model, mode, here) as new:
            ratios = []
            for number in range(rounds):
                rates = {}
                for url in (old, new) if number % 2 else (new, old):
                    rates[url] = asyncio.run(capacity_of(url, requests, seconds))
                ratios.append(rates[old] / rates[new])
                print(f"requests/s: {rates[old]:.1f} before, {rates[new]:.1f} now; time {ratios[-1]:.3f}", flush=True)
    logs = [math.log(ratio) for ratio in ratios]
    middle, half = fmean(logs), T_95.get(rounds, 2.0) * stdev(logs) / math.sqrt(rounds)
    low, high = math.exp(middle - half), math.exp(middle + half)
    print(f"time now / before: {math.exp(middle):.3f}, 95 % from {low:.3f} to {high:.3f}")
    return int(low > MOST)


def texts() -> list[dict[str, Any]]:
    """Requests of the example's world."""
    split = build(WorldSettings(queries={"test": 200}), 0)["test"]
    passages = [f"{title} {body}" for title, body, _ in split.documents.values()]
    rng = random.Random(0)
    return [{"query": query, "documents": rng.sample(passages, DOCUMENTS)} for query, _ in split.queries.values()]


def student(folder: Path, requests: list[dict[str, Any]]) -> str:
    """Random weights of the quickstart's shape."""
    from sft.scratch import ScratchSettings, new_model, train_tokenizer

    tokenizer = train_tokenizer((rank1_prompt(r["query"], d) for r in requests for d in r["documents"]), 1024)
    new_model(tokenizer, ScratchSettings(layers=2, width=128, heads=4, ffn=640)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def alone(model: str, mode: str, requests: list[dict[str, Any]], seconds: float) -> float:
    """Pairs a second without a server, in calls of as many pairs as the server's clients have in flight."""
    reranker = Reranker(model, mode)  # type: ignore[arg-type]
    pairs = [
        make_pair(str(n), str(i), r["query"], d) for n, r in enumerate(requests) for i, d in enumerate(r["documents"])
    ]
    pairs = pairs[: CLIENTS * DOCUMENTS]
    reranker.predict(pairs[:64])
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        reranker.predict(pairs)
        done += len(pairs)
    return round(done / (time.monotonic() - began), 1)


async def capacity_of(url: str, requests: list[dict[str, Any]], seconds: float) -> float:
    """Requests a second under clients that ask again immediately."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await saturated(lambda number: ask(session, url, requests[number % len(requests)]), seconds)


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[int, float]:
    """(status, seconds to the last byte)."""
    began = time.monotonic()
    async with session.post(f"{url}/v1/rerank", json=body) as answer:
        await answer.read()
        return answer.status, time.monotonic() - began


async def saturated(ask: Callable[[int], Awaitable[tuple[int, float]]], seconds: float) -> float:
    """Requests a second, once all are warm."""
    await asyncio.gather(*(ask(n) for n in range(16)))
    began = time.monotonic()
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        while time.monotonic() < began + seconds:
            status, _ = await ask(number)
            answered += status == 200
            number += CLIENTS

    await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    return answered / (time.monotonic() - began)


async def measure(url: str, requests: list[dict[str, Any]], seconds: float, found: dict[str, Any]) -> None:
    """Capacity, then latency by offered load."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        by_number = lambda number: ask(session, url, requests[number % len(requests)])  # noqa: E731
        rate = await saturated(by_number, seconds)
        found["capacity"] = {"requests_per_s": round(rate, 1), "pairs_per_s": round(rate * DOCUMENTS, 1)}
        found["loads"] = [await offered(by_number, rate * share, share, seconds) for share in SHARES]


async def offered(ask: Any, rate: float, share: float, seconds: float) -> dict[str, Any]:
    """Arrivals at `rate` a second for so many seconds, whether answers come or not."""
    rng = random.Random(share)
    began, at, number = time.monotonic(), 0.0, 0
    tasks: list[asyncio.Task[tuple[int, float]]] = []
    while at < seconds:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        tasks.append(asyncio.ensure_future(ask(number)))
        number += 1
        at += rng.expovariate(rate)
    answers = await asyncio.gather(*tasks)
    whole = time.monotonic() - began
    good = sorted(latency for status, latency in answers if status == 200)
    return {
        "share": share,
        "offered_per_s": round(rate, 1),
        "answered_per_s": round(len(good) / whole, 1),
        "p50_ms": round(1000 * good[len(good) // 2], 1),
        "p99_ms": round(1000 * good[min(len(good) - 1, int(len(good) * 0.99))], 1),
        "refused": sum(status == 429 for status, _ in answers),
        "other": sum(status not in (200, 429) for status, _ in answers),
    }


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"alone {found['alone_pairs_per_s']} pairs/s; served {found['capacity']['pairs_per_s']} pairs/s, "
        f"{found['of_the_rerankers_own_speed']} of it",
        "",
        "| offered | requests/s | answered/s | p50 | p99 | 429 |",
        "|---|---|---|---|---|---|",
    ]
    for each in found["loads"]:
        lines.append(
            f"| {each['share']:.0%} of capacity | {each['offered_per_s']} | {each['answered_per_s']} "
            f"| {each['p50_ms']:,.0f} ms | {each['p99_ms']:,.0f} ms | {each['refused']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
