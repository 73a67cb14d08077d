"""The pairs that every method judges: the head of a run's test lists, as its student was evaluated on them."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from distill.records import Pair, make_pair

MAX_NEW = 100


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
