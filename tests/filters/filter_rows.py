"""Rows for the filters' tests, and the filters over rows: written into a folder, filtered as users do, read back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill import store
from distill.records import Pair, Rejected, Trace, make_pair
from filters.base import Tools
from filters.engine.explain import explain
from filters.engine.run import filter_folders
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


@dataclass(frozen=True)
class Sifted:
    """What the filters wrote. `changed` are the pairs that got another label, by pair_id."""

    kept: list[Trace]
    rejected: list[Rejected]
    counts: dict[str, Any]
    changed: dict[str, Pair]


def sifted(rows: list[tuple[Pair, Trace]], filters: list[Any], tools: Tools | None = None) -> Sifted:
    """The filters over the rows, in their order on disk."""
    settings = FilterSettings.model_validate(filters)
    with tempfile.TemporaryDirectory() as folder:
        return in_folder(Path(folder), {p.pair_id: p for p, _ in rows}.values(), [t for _, t in rows], settings, tools)


def in_folder(
    folder: Path, pairs: Iterable[Pair], traces: Iterable[Trace], settings: FilterSettings, tools: Tools | None = None,
    **how: Any,
) -> Sifted:  # fmt: skip
    """The filters over pairs and traces that are written into the folder."""
    store.write_rows(folder / "pairs", pairs, Pair)
    store.write_rows(folder / "traces", traces, Trace)
    names = [str(folder / name) for name in ("pairs", "traces", "kept", "rejected", "changed")]
    counts = dict(filter_folders(*names, settings, tools, **{"processes": 1, **how}))
    return Sifted(
        list(store.read_rows(folder / "kept", Trace)),
        list(store.read_rows(folder / "rejected", Rejected)),
        counts,
        {p.pair_id: p for p in store.read_rows(folder / "changed", Pair)},
    )


def explained(pair_id: str, rows: list[tuple[Pair, Trace]], filters: list[Any], tools: Tools | None = None) -> Any:
    """What `explain` says of a pair among the rows."""
    with tempfile.TemporaryDirectory() as folder:
        store.write_rows(f"{folder}/pairs", {p.pair_id: p for p, _ in rows}.values(), Pair)
        store.write_rows(f"{folder}/traces", [t for _, t in rows], Trace)
        settings = FilterSettings.model_validate(filters)
        return explain(pair_id, f"{folder}/pairs", f"{folder}/traces", settings, tools)


def reasons(found: Sifted) -> dict[tuple[str, int], str]:
    """{(pair_id, sample): reason}."""
    return {(r.trace.pair_id, r.trace.sample): r.reason for r in found.rejected}
