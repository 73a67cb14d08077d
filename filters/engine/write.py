"""A shard's two outcomes on disk, kept and rejected, by masks from Parquet to Parquet, and what there is to count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill import store
from distill.records import Trace
from filters.engine.counts import FilterCounts, better, unanswered
from filters.engine.shards import FilterPlan, Shard, decide, read, shards


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """A worker's word on a shard: counts, the outcomes of its first and last pair apart, the kept file's hash, and
    the whole of its fates."""

    samples: dict[str, int]
    reasons: dict[str, dict[str, int]]
    pairs: dict[str, int]
    edges: list[tuple[str, str]]
    kept_hash: str


def write(
    shard: Shard, plan: FilterPlan, kept: str, rejected: str, verdicts: str | None, names: Sequence[str]
) -> ShardCounts:
    """Run the last row filters and write the shard's `kept`, `rejected` and, where named, `verdicts` file.

    `names` are those of all filters, by their place.
    """
    import numpy as np
    import pyarrow as pa

    table = read(shard.path, Trace)
    shard.fates |= decide(shard, plan, table)
    tally = FilterCounts([])
    out = np.zeros(table.num_rows, bool)
    out[list(shard.fates)] = True
    errors = table["error"].to_pylist()
    answered = np.array([error is None for error in errors], bool)
    order = sorted(shard.fates)
    places, reasons = [shard.fates[row][0] for row in order], [shard.fates[row][1] for row in order]
    put(kept, table.filter(pa.array(answered & ~out)))
    gone = table.filter(pa.array(out))
    gone = gone.append_column("filter", pa.array([names[place] for place in places], pa.string()))
    put(rejected, gone.append_column("reason", pa.array(reasons, pa.string())))
    if verdicts is not None:
        columns = [pa.array(order, pa.int32()), pa.array(places, pa.int16()), pa.array(reasons, pa.string())]
        put(verdicts, pa.table(columns, ["row", "place", "reason"]))
    for place, reason in zip(places, reasons, strict=True):
        tally.reject(names[place], reason)
    tally.samples["samples"] = table.num_rows
    tally.samples["kept"] = int((answered & ~out).sum())
    outcomes: list[tuple[str, str]] = []
    for row, (pair_id, error) in enumerate(zip(table["pair_id"].to_pylist(), errors, strict=True)):
        outcome = unanswered(error) if error is not None else "rejected" if row in shard.fates else "kept"
        if error is not None:
            tally.samples[outcome] += 1
        if outcomes and outcomes[-1][0] == pair_id:
            outcomes[-1] = (pair_id, better(outcome, outcomes[-1][1]))
        else:
            outcomes.append((pair_id, outcome))
    tally.pairs.update(outcome for _, outcome in outcomes[1:-1])
    return ShardCounts(
        dict(tally.samples),
        {n: dict(c) for n, c in tally.reasons.items()},
        dict(tally.pairs),
        [outcomes[0], outcomes[-1]] if len(outcomes) > 1 else outcomes,
        store.file_hash(kept),
    )


def put(path: str, table: Any) -> None:
    """Write a Parquet file."""
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(path)
    with fs.open(inner, "wb") as out:
        pq.write_table(table, out, compression="zstd")


def empty(folder: str) -> None:
    """Remove a folder's manifest, then its shards."""
    fs, inner = store.filesystem(folder)
    fs.makedirs(inner, exist_ok=True)
    for old in sorted(fs.ls(inner, detail=False), key=lambda p: not p.endswith(store.MANIFEST)):
        if old.endswith((store.MANIFEST, ".parquet")):
            fs.rm_file(old)


def total(names: Sequence[str], written: Sequence[ShardCounts], pairs: str, traces: str) -> FilterCounts:
    """The counts of all shards together; `pairs` and `traces` are the folders, some pairs of which were not asked."""
    tally = FilterCounts(names)
    edges: dict[str, str] = {}
    for each in written:
        tally.samples.update(each.samples)
        tally.pairs.update(each.pairs)
        for name, reasons in each.reasons.items():
            tally.reasons.setdefault(name, Counter()).update(reasons)
        for pair_id, outcome in each.edges:
            edges[pair_id] = better(outcome, edges.get(pair_id))
    tally.pairs.update(edges.values())
    tally.pairs["not_asked"] += _without_trace(pairs, traces)
    return tally


def _without_trace(pairs: str, traces: str) -> int:
    """How many pairs of the training split have no trace, not even one that says why."""
    import pyarrow as pa
    import pyarrow.compute as pc

    asked = [pc.unique(_column(path, ["pair_id"])["pair_id"]) for path, _ in shards(traces)]
    known = pa.concat_arrays(asked) if asked else pa.array([], pa.string())
    found = 0
    for path, _ in shards(pairs):
        table = _column(path, ["pair_id", "split"])
        table = table.filter(pc.equal(table["split"], "train"))
        found += table.num_rows - (pc.sum(pc.is_in(table["pair_id"], value_set=known)).as_py() or 0)
    return found


def _column(path: str, names: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(path)
    with fs.open(inner, "rb") as source:
        return pq.read_table(source, columns=list(names))
