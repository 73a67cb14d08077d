"""The pairs that every method judges, the head of a run's test lists, and how methods are timed side by side."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill.records import Pair, make_pair
from distill.rerank.backends.base import Backend
from distill.rerank.reranker import Reranker

MAX_NEW = 100
Judged = tuple[list[float], list[int]]  # log-odds and tokens, one a pair


def arguments(pairs: int, batch: int, batch_help: str) -> argparse.ArgumentParser:
    """What both benchmarks take, with their own defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", default="think")
    parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--batch", type=int, default=batch, help=batch_help)
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def thought(backend: Backend, pairs: list[Pair]) -> Judged:
    """The project's own way."""
    found = Reranker(backend, "think", max_new_tokens=MAX_NEW).predict(pairs)
    return [j.margin for j in found], [j.tokens for j in found]


def race(
    methods: Mapping[str, Callable[[], Judged]], repeats: int, before: Callable[[], object] = lambda: None
) -> None:
    """Print a JSON line a method, the repeats interleaved, medians; `before` runs, untimed, ahead of each."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    found: dict[str, Judged] = {}
    for _ in range(repeats):
        for name, method in methods.items():
            before()
            started = time.monotonic()
            found[name] = method()
            times[name].append(time.monotonic() - started)
    results = [(line(name, statistics.median(times[name]), *found[name]), found[name][0]) for name in methods]
    for result in compared(results):
        print(json.dumps(result), flush=True)


def pairs_of(run: Path, count: int) -> list[Pair]:
    """`count` pairs of a run folder's test set: the first stage's whole lists of queries spread evenly over it."""
    detail = json.loads((run / "evaluation" / "test.json").read_text(encoding="utf-8"))
    lists: dict[str, list[str]] = {}
    for line in (run / "evaluation" / "test.first_stage.trec").read_text(encoding="utf-8").splitlines():
        query, _, doc, *_ = line.split()
        lists.setdefault(query, []).append(doc)
    needed = -(-count * len(lists) // sum(map(len, lists.values())))
    chosen = sorted(lists)[:: max(1, len(lists) // max(1, needed))]
    found = [make_pair(q, d, detail["queries"][q], detail["passages"][d]) for q in chosen for d in lists[q]]
    return found[:count]


def line(method: str, seconds: float, margins: list[float], tokens: list[int], **more: Any) -> dict[str, Any]:
    """One result."""
    return {
        "method": method,
        "pairs": len(margins),
        "seconds": round(seconds, 2),
        "pairs_per_s": round(len(margins) / seconds, 2),
        "tokens_per_pair": round(sum(tokens) / len(tokens), 1),
        **more,
    }


def compared(results: list[tuple[dict[str, Any], list[float]]]) -> list[dict[str, Any]]:
    """Each result with its ratio to the first, and the largest difference of a score in log-odds."""
    base, expected = results[0]
    for result, margins in results:
        result["ratio"] = round(result["pairs_per_s"] / base["pairs_per_s"], 2)
        result["largest_difference"] = round(max(abs(a - b) for a, b in zip(margins, expected, strict=True)), 5)
    return [{"machine": machine()}, *(result for result, _ in results)]


def machine() -> str:
    """What it ran on, for the baseline."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return gpu or f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s)"
