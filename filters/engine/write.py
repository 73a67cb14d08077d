"""Writes a shard's kept and rejected rows, by masks from Parquet to Parquet, and counts them; `run` calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill import store
from distill.records import Trace
from filters.engine.counts import OutcomeCounts, better, unanswered
from filters.engine.shards import FilterPlan, Shard, parquet_files, read, read_traces, rejections_of


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """The counts of a shard, the outcomes of its first and last pair apart, and the kept file's hash."""

    counts: OutcomeCounts
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

    table = read_traces(shard)
    shard.rejections |= rejections_of(shard, plan, table)
    counts = OutcomeCounts([])
    is_rejected = np.zeros(table.num_rows, bool)
    is_rejected[list(shard.rejections)] = True
    errors = table["error"].to_pylist()
    is_kept = np.array([error is None for error in errors], bool) & ~is_rejected
    order = sorted(shard.rejections)
    places, reasons = [shard.rejections[row][0] for row in order], [shard.rejections[row][1] for row in order]
    store.write_table(kept, table.filter(pa.array(is_kept)))
    gone = table.filter(pa.array(is_rejected))
    gone = gone.append_column("filter", pa.array([names[place] for place in places], pa.string()))
    store.write_table(rejected, gone.append_column("reason", pa.array(reasons, pa.string())))
    if verdicts is not None:
        columns = [pa.array(order, pa.int32()), pa.array(places, pa.int16()), pa.array(reasons, pa.string())]
        store.write_table(verdicts, pa.table(columns, ["row", "place", "reason"]))
    for place, reason in zip(places, reasons, strict=True):
        counts.reject(names[place], reason)
    counts.samples["samples"] = table.num_rows
    counts.samples["kept"] = int(is_kept.sum())
    outcomes: list[tuple[str, str]] = []
    for row, (pair_id, error) in enumerate(zip(table["pair_id"].to_pylist(), errors, strict=True)):
        outcome = unanswered(error) if error is not None else "rejected" if row in shard.rejections else "kept"
        if error is not None:
            counts.samples[outcome] += 1
        if outcomes and outcomes[-1][0] == pair_id:
            outcomes[-1] = (pair_id, better(outcome, outcomes[-1][1]))
        else:
            outcomes.append((pair_id, outcome))
    counts.pairs.update(outcome for _, outcome in outcomes[1:-1])
    edges = [outcomes[0], outcomes[-1]] if len(outcomes) > 1 else outcomes
    return ShardCounts(counts, edges, store.file_hash(kept))


def total(names: Sequence[str], written: Sequence[ShardCounts], pairs: str, traces: str) -> OutcomeCounts:
    """The counts of all shards together; `pairs` and `traces` are the folders, some pairs of which were not asked."""
    counts = OutcomeCounts(names)
    edges: dict[str, str] = {}
    for shard in written:
        counts.add(shard.counts)
        for pair_id, outcome in shard.edges:
            edges[pair_id] = better(outcome, edges.get(pair_id))
    counts.pairs.update(edges.values())
    counts.pairs["not_asked"] += _without_trace(pairs, traces)
    return counts


def _without_trace(pairs: str, traces: str) -> int:
    """How many pairs of the training split have no trace, not even one that says why."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    fs, inner = store.filesystem(traces)
    traced = ds.dataset(store.parquet_files(fs, inner), filesystem=fs, format="parquet", schema=store.schema_of(Trace))
    missing = 0
    for path, _ in parquet_files(pairs):
        table = read(path, ["pair_id", "split"])
        if not table.num_rows:
            continue
        ends = pc.min_max(table["pair_id"]).as_py()
        within = (ds.field("pair_id") >= ends["min"]) & (ds.field("pair_id") <= ends["max"])
        known = traced.to_table(["pair_id"], filter=within)["pair_id"].combine_chunks()
        asked = table.filter(pc.equal(table["split"], "train"))
        missing += asked.num_rows - (pc.sum(pc.is_in(asked["pair_id"], value_set=known)).as_py() or 0)
    return missing
