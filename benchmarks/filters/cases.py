"""The cases that are measured, and the line that each prints; `run.py` and the peers call it."""

from __future__ import annotations

import resource
from typing import Any

from filters.settings import DEFAULT

ROW = ["finished", "parses", "has_reasoning", {"length": {"max_tokens": 2048}}, "degenerate", "language", "leak",
       "self_contradiction", "verdict_matches_label"]  # fmt: skip
CASES: dict[str, list[Any]] = {
    "default": DEFAULT,
    "row": ROW,
    "row-and-identifier": [*ROW, {"language": {"expect": "en"}}],
    "row-identifier-tokens": [*ROW, {"language": {"expect": "en"}}, {"length": {"max_length": 2500}}],
    "near-duplicate": ["near_duplicate"],
    "consensus-balance": ["consensus", {"balance": {"per_query": 4}}],
}


def seconds() -> float:
    """Processor seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def line(who: str, case: str, traces: int, kept: int, wall: float, processor: float | None) -> dict[str, Any]:
    """One measurement; `peak_gb` is the largest process's."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e6
    return {
        "who": who, "case": case, "traces": traces, "kept": kept, "wall_s": round(wall, 1),
        "processor_s": processor and round(processor, 1), "traces_per_s": round(traces / wall),
        "traces_per_processor_s": processor and round(traces / processor), "peak_gb": round(peak, 2),
    }  # fmt: skip
