"""Rows for the filters' tests."""

from __future__ import annotations

from typing import Any

from distill.records import Pair, Trace, make_pair
from filters.base import Tools
from filters.engine.counts import Sifted, sift
from filters.settings import FilterSettings

TEXT = "The passage names what the query asks for, with a figure and a date, so it answers the query."


def pair(number: int = 0, **rest: Any) -> Pair:
    """A judged pair of its own query."""
    given: dict[str, Any] = {"label": 1, "label_origin": "judged"} | rest
    query = given.pop("query", f"query {number}")
    passage = given.pop("passage", f"passage {number}")
    return make_pair(
        given.pop("query_id", f"q{number}"), f"d{number}", query, passage, given.pop("instruction", None), **given
    )


def trace(of: Pair, sample: int = 0, verdict: int | None = 1, reasoning: str = TEXT, **rest: Any) -> Trace:
    """An answered trace of the pair."""
    values: dict[str, Any] = {
        "pair_id": of.pair_id, "sample": sample, "request_id": f"r{sample}", "reasoning": reasoning,
        "content": {1: "true", 0: "false"}.get(verdict, "") if verdict is not None else "", "verdict": verdict,
        "finish_reason": "stop", "prompt_tokens": 50, "completion_tokens": 20, "cost_usd": 0.0, "latency_s": 0.1,
        "teacher": "{}",
    }  # fmt: skip
    return Trace(**(values | rest))


def sifted(rows: list[tuple[Pair, Trace]], filters: list[Any], tools: Tools | None = None) -> Sifted:
    """The filters over the rows, in their order on disk."""
    ordered = sorted((t for _, t in rows), key=lambda t: (t.pair_id, t.sample))
    return sift({p.pair_id: p for p, _ in rows}, ordered, FilterSettings.model_validate(filters), tools)


def reasons(found: Sifted) -> dict[tuple[str, int], str]:
    """{(pair_id, sample): reason}."""
    return {(r.trace.pair_id, r.trace.sample): r.reason for r in found.rejected}
