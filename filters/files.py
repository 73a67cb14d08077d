"""The filters over folders of shards: streamed, two processes, the same outcome as `filters.funnel.sift`.

Row filters run shard by shard, in processes of their own where there is much to do; a group filter reads all that is
left, once. Kept and rejected rows go from Parquet to Parquet by a mask: no trace is held longer than its shard is.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from distill import store
from distill.errors import DataError
from distill.records import Pair, Trace
from filters.base import GroupFilter, RowFilter, Tools
from filters.build import build, is_group, make
from filters.funnel import Tally, better, unanswered
from filters.settings import FilterSettings

BATCH = 2048
WORTH_A_PROCESS = 100_000  # rows; a process takes a second to start
Fates = dict[int, tuple[str, str]]  # row of a shard: filter and reason


@dataclass(slots=True)
class _Shard:
    """A file of traces, what has been decided about its rows, and the pairs of it that were changed."""

    path: str
    rows: int
    pairs: str
    fates: Fates = field(default_factory=dict)
    changed: dict[str, Pair] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Written:
    """A worker's word on a shard: counts, the outcomes of its first and last pair apart, the files' hashes."""

    samples: dict[str, int]
    reasons: dict[str, dict[str, int]]
    pairs: dict[str, int]
    edges: list[tuple[str, str]]
    hashes: tuple[str, str]


def filter_folders(
    pairs: str, traces: str, kept: str, rejected: str, changed: str, settings: FilterSettings,
    tools: Tools | None = None, processes: int = 2, executor: Executor | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fill `kept`, `rejected` and `changed` (pairs with another label); returns counts, `rows` and `data_hash`.

    `traces` are sorted by (pair_id, sample), as they are written. Manifests are removed first and not written here.
    `executor` runs the shards elsewhere (`filters.cluster.OnRay`). Raises DataError for a trace without its pair.
    """
    tools = tools or Tools()
    steps = build(settings, tools)
    shards = [_Shard(path, rows, pairs) for path, rows in _shards(traces)]
    own = sum(shard.rows for shard in shards) < WORTH_A_PROCESS or processes < 2 or len(shards) < 2
    pool: AbstractContextManager[Executor | None] = executor or (nullcontext(None) if own else _pool(processes))
    relabelled: dict[str, Pair] = {}
    with pool as workers:
        at = 0
        for grouped, members in groupby(steps, key=is_group):
            several: list[Any] = list(members)
            last = at + len(several) == len(steps)
            if grouped:
                for each in several:
                    relabelled |= _group(each, shards)
            elif not last:  # the last row filters run where their shard is written
                plan = _plan(several, at, settings, tools)
                for shard, fates in zip(shards, _map(workers, plan, _decide, [(s, plan) for s in shards]), strict=True):
                    shard.fates |= fates
            at += len(several)
        tail = [] if not steps or is_group(steps[-1]) else several
        plan = _plan(tail, len(steps) - len(tail), settings, tools)
        for folder in (kept, rejected):
            _empty(folder)
        outs = [
            (s, plan, f"{kept}/part-{n:05d}.parquet", f"{rejected}/part-{n:05d}.parquet") for n, s in enumerate(shards)
        ]
        written = list(_map(workers, plan, _write, outs))
    store.write_rows(changed, relabelled.values(), Pair)
    tally = _sum([step.name for step in steps], written)
    tally.relabelled = len(relabelled)
    asked = _count_pairs(pairs)
    tally.pairs["not_asked"] += asked - sum(tally.pairs.values())
    hashes = hashlib.sha256("".join(each.hashes[0] for each in written).encode()).hexdigest()
    return {**tally.counts(), "rows": tally.samples["kept"], "data_hash": hashes}


def _pool(processes: int) -> ProcessPoolExecutor:
    import multiprocessing

    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), gc.disable)


def _shards(folder: str) -> list[tuple[str, int]]:
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(folder)
    found = []
    for path in sorted(p for p in fs.ls(inner, detail=False) if p.endswith(".parquet")):
        with fs.open(path, "rb") as source:
            found.append((fs.unstrip_protocol(path), pq.read_metadata(source).num_rows))
    return found


def _empty(folder: str) -> None:
    fs, inner = store.filesystem(folder)
    fs.makedirs(inner, exist_ok=True)
    for old in sorted(fs.ls(inner, detail=False), key=lambda p: not p.endswith(store.MANIFEST)):
        if old.endswith((store.MANIFEST, ".parquet")):
            fs.rm_file(old)


def _read(path: str, row_type: type) -> Any:
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(path)
    with fs.open(inner, "rb") as source:
        return pq.read_table(source, columns=store.schema_of(row_type).names)


def _traces(table: Any) -> Iterator[Trace]:
    for batch in table.to_batches(max_chunksize=BATCH):
        yield from map(Trace, *(column.to_pylist() for column in batch.columns))


def _pairs_of(shard: _Shard, table: Any) -> dict[str, Pair]:
    """The pairs of a shard's traces: of the sorted pairs, only the row groups that can hold them are read."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    if not table.num_rows:
        return {}
    ends = pc.min_max(table["pair_id"]).as_py()
    fs, inner = store.filesystem(shard.pairs)
    files = [p for p in fs.ls(inner, detail=False) if p.endswith(".parquet")]
    within = (ds.field("pair_id") >= ends["min"]) & (ds.field("pair_id") <= ends["max"])
    names = store.schema_of(Pair).names
    found = ds.dataset(files, filesystem=fs, format="parquet").to_table(names, filter=within)
    rows = {row.pair_id: row for row in map(Pair, *(found[name].to_pylist() for name in names))}
    for pair_id in table["pair_id"].unique().to_pylist():
        if pair_id not in rows:
            raise DataError(f"traces: pair {pair_id} is not among the pairs; run the pairs stage again")
    return rows | shard.changed


@dataclass(frozen=True, slots=True)
class _Plan:
    """Row filters to run: as they are here, or by name in another process, where they are made anew."""

    names: list[tuple[str, dict[str, Any]]]
    base: Any
    here: Sequence[Any] | None

    def steps(self) -> Sequence[RowFilter]:
        return self.here or [make(name, thresholds, self.base) for name, thresholds in self.names]


def _plan(steps: Sequence[Any], at: int, settings: FilterSettings, tools: Tools) -> _Plan:
    """To be sent elsewhere, unless a filter holds a tool, which stays where it is."""
    names = [next(iter(entry.items())) for entry in settings.root[at : at + len(steps)]]
    return _Plan(names, tools.base, steps if any(getattr(step, "bound", False) for step in steps) else None)


def _map(pool: Executor | None, plan: _Plan, work: Any, given: list[tuple[Any, ...]]) -> Iterator[Any]:
    if not given:
        return iter(())
    return (map if pool is None or plan.here else pool.map)(work, *zip(*given, strict=True))


def _decide(shard: _Shard, plan: _Plan, table: Any = None) -> Fates:
    steps = plan.steps()
    fates: Fates = {}
    if not steps:
        return fates
    table = _read(shard.path, Trace) if table is None else table
    pairs = _pairs_of(shard, table)
    for at, trace in enumerate(_traces(table)):
        if trace.error is not None or at in shard.fates:
            continue
        for step in steps:
            reason = step(pairs[trace.pair_id], trace)
            if reason is not None:
                fates[at] = (step.name, reason)
                break
    return fates


def _group(step: GroupFilter, shards: list[_Shard]) -> dict[str, Pair]:
    """A group filter over what is left of all shards."""

    def left(places: bool = False) -> Iterator[Any]:
        for shard in shards:
            table = _read(shard.path, Trace)
            pairs = {} if places else _pairs_of(shard, table)
            for at, trace in enumerate(_traces(table)):
                if trace.error is None and at not in shard.fates:
                    yield (shard, at, trace) if places else (pairs[trace.pair_id], trace)

    said = step(left())
    changed = {}
    if said:
        for shard, at, trace in left(places=True):
            word = said.get((trace.pair_id, trace.sample))
            if isinstance(word, Pair):
                shard.changed[trace.pair_id] = changed[trace.pair_id] = word
            elif word is not None:
                shard.fates[at] = (step.name, word)
    return changed


def _write(shard: _Shard, plan: _Plan, kept: str, rejected: str) -> _Written:
    """The last row filters, both outcomes of a shard, by masks, and what there is to count."""
    import numpy as np
    import pyarrow as pa

    table = _read(shard.path, Trace)
    shard.fates |= _decide(shard, plan, table)
    tally = Tally([])
    out = np.zeros(table.num_rows, bool)
    out[list(shard.fates)] = True
    errors = table["error"].to_pylist()
    answered = np.array([error is None for error in errors], bool)
    order = sorted(shard.fates)
    reasons = [shard.fates[at] for at in order]
    kept_hash = _put(kept, table.filter(pa.array(answered & ~out)))
    gone = table.filter(pa.array(out))
    for place, name in enumerate(("filter", "reason")):
        gone = gone.append_column(name, pa.array([reason[place] for reason in reasons], pa.string()))
    rejected_hash = _put(rejected, gone)
    for reason in reasons:
        tally.reject(*reason)
    tally.samples["samples"] = table.num_rows
    tally.samples["kept"] = int((answered & ~out).sum())
    outcomes: list[tuple[str, str]] = []
    for at, (pair_id, error) in enumerate(zip(table["pair_id"].to_pylist(), errors, strict=True)):
        outcome = unanswered(error) if error is not None else "rejected" if at in shard.fates else "kept"
        if error is not None:
            tally.samples[outcome] += 1
        if outcomes and outcomes[-1][0] == pair_id:
            outcomes[-1] = (pair_id, better(outcome, outcomes[-1][1]))
        else:
            outcomes.append((pair_id, outcome))
    tally.pairs.update(outcome for _, outcome in outcomes[1:-1])
    edges = [outcomes[0], outcomes[-1]] if len(outcomes) > 1 else outcomes
    return _Written(
        dict(tally.samples),
        {n: dict(c) for n, c in tally.reasons.items()},
        dict(tally.pairs),
        edges,
        (kept_hash, rejected_hash),
    )


def _put(path: str, table: Any) -> str:
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(path)
    with fs.open(inner, "wb") as out:
        pq.write_table(table, out, compression="zstd")
    return store.file_hash(path)


def _sum(names: list[str], written: list[_Written]) -> Tally:
    tally = Tally(names)
    edges: dict[str, str] = {}
    for each in written:
        tally.samples.update(each.samples)
        tally.pairs.update(each.pairs)
        for name, reasons in each.reasons.items():
            tally.reasons.setdefault(name, Counter()).update(reasons)
        for pair_id, outcome in each.edges:
            edges[pair_id] = better(outcome, edges.get(pair_id))
    tally.pairs.update(edges.values())
    return tally


def _count_pairs(folder: str) -> int:
    """How many pairs were to be asked: those of the training split."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    total = 0
    for path, _ in _shards(folder):
        fs, inner = store.filesystem(path)
        with fs.open(inner, "rb") as source:
            total += pc.sum(pc.equal(pq.read_table(source, columns=["split"])["split"], "train")).as_py() or 0
    return total
