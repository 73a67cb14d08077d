"""The functions of `sft.examples` on pairs and traces in memory, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sft.examples as made
from distill.records import Example, Pair, Trace


def rows_of(pairs: Mapping[str, Pair], kept: Iterable[Trace]) -> made.Rows:
    """The traces with their pairs, as often as they are asked for."""
    traces = list(kept)
    return lambda: ((pairs[trace.pair_id], trace) for trace in traces)


def examples(pairs: Mapping[str, Pair], kept: Iterable[Trace], *settings: Any, **more: Any) -> list[Example]:
    return list(made.examples(rows_of(pairs, kept)(), *settings, **more))


def shuffled(kept: list[Trace], seed: int) -> list[Trace]:
    return [trace for _, trace in made.shuffled(_without_pairs(kept), seed)()]


def subsample(kept: list[Trace], size: int | None, seed: int) -> list[Trace]:
    return [trace for _, trace in made.subsample(_without_pairs(kept), len(kept), size, seed)()]


def hold_out(pairs: Mapping[str, Pair], kept: list[Trace], count: int, seed: int) -> tuple[list[Trace], list[Pair]]:
    rest, held = made.hold_out(rows_of(pairs, kept), count, seed)
    return [trace for _, trace in rest()], held


def _without_pairs(kept: list[Trace]) -> made.Rows:
    pairs = {trace.pair_id: Pair(trace.pair_id, "q", "d", "", "") for trace in kept}
    return rows_of(pairs, kept)
