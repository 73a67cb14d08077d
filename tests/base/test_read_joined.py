"""Traces are joined with their pairs batch by batch, wherever the batches end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill import store
from distill.errors import DataError
from distill.records import Pair, Trace, make_pair


def write(folder: Path, count: int, samples: int, every: int = 1) -> tuple[list[Pair], list[Trace]]:
    pairs = sorted((make_pair(f"q{i}", f"d{i}", f"query {i}", f"passage {i}") for i in range(count)), key=pair_id)
    traces = [
        Trace(pair.pair_id, sample, "r", f"why {sample}", "true", 1, "stop", 1, 1, 0.0, 0.0, "{}")
        for pair in pairs[::every]
        for sample in range(samples)
    ]
    store.write_rows(folder / "pairs", pairs, Pair)
    store.write_rows(folder / "traces", traces, Trace)
    return pairs, traces


def pair_id(pair: Pair) -> str:
    return pair.pair_id


@pytest.mark.parametrize(("count", "samples", "every"), [(9_000, 1, 1), (20_000, 3, 4), (8_192, 1, 1), (20_000, 1, 7)])
def test_every_trace_comes_with_its_pair(tmp_path: Path, count: int, samples: int, every: int) -> None:
    pairs, traces = write(tmp_path, count, samples, every)
    by_id = {pair.pair_id: pair for pair in pairs}
    relabelled = replace(pairs[0], label=1)
    joined = list(store.read_joined(tmp_path / "pairs", tmp_path / "traces", {relabelled.pair_id: relabelled}))
    assert [trace for _, trace in joined] == traces
    assert all(pair == (relabelled if pair.pair_id == relabelled.pair_id else by_id[trace.pair_id])
               for pair, trace in joined)  # fmt: skip


def test_a_trace_without_its_pair_is_an_error(tmp_path: Path) -> None:
    pairs, _ = write(tmp_path, 50, 1)
    store.write_rows(tmp_path / "pairs", pairs[:40], Pair)
    with pytest.raises(DataError, match=f"trace of the pair {pairs[40].pair_id}, which is not among the pairs"):
        list(store.read_joined(tmp_path / "pairs", tmp_path / "traces", {}))
