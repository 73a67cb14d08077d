"""One shard of traces in the hands of a worker: its rows, their pairs, and what the row filters say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill import store
from distill.errors import DataError
from distill.records import Pair, Trace
from filters.base import Key, RowFilter
from filters.engine.build import make

BATCH = 2048
Rejections = dict[int, tuple[int, str]]  # row of a shard: place of the filter in the list, and its reason


@dataclass(slots=True)
class Shard:
    """A file of traces, what has been decided about its rows, and the pairs of it that were changed."""

    number: int
    path: str
    rows: int
    pairs: str
    fates: Rejections = field(default_factory=dict)
    changed: dict[str, Pair] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of what is written for it."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """Row filters to run, the first at place `at` of the list, as they are here, or by name in another process, where
    they are made anew; and the traces that are `accepted` whatever they say."""

    names: Sequence[tuple[str, dict[str, Any]]]
    at: int
    base: Any
    here: Sequence[Any] | None
    picklable: bool
    accepted: frozenset[Key] = frozenset()

    def steps(self) -> Sequence[RowFilter]:
        return self.here if self.here is not None else [make(name, given, self.base) for name, given in self.names]


def plan(steps: Sequence[Any], at: int, names: Sequence[Any], base: Any, accepted: frozenset[Key]) -> FilterPlan:
    """For the filters of the list from `at` on. One that holds a tool is sent as it is where the tool can travel."""
    bound = [step for step in steps if getattr(step, "bound", False)]
    picklable = all(getattr(step, "picklable", False) for step in bound)
    return FilterPlan(names, at, base, list(steps) if bound else None, picklable, accepted)


def shards(folder: str) -> list[tuple[str, int]]:
    """(path, rows) of the folder's Parquet files, in order."""
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(folder)
    found = []
    for path in sorted(p for p in fs.ls(inner, detail=False) if p.endswith(".parquet")):
        with fs.open(path, "rb") as source:
            found.append((fs.unstrip_protocol(path), pq.read_metadata(source).num_rows))
    return found


def read(path: str, row_type: type) -> Any:
    """A shard as an Arrow table of the row's columns."""
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(path)
    with fs.open(inner, "rb") as source:
        return pq.read_table(source, columns=store.schema_of(row_type).names)


def traces(table: Any) -> Iterator[Trace]:
    """The rows of a shard's table."""
    for batch in table.to_batches(max_chunksize=BATCH):
        yield from map(Trace, *(column.to_pylist() for column in batch.columns))


def pairs_of(shard: Shard, table: Any) -> dict[str, Pair]:
    """The pairs of a shard's traces: of the sorted pairs, only the row groups that can hold them are read.

    Raises DataError for a trace without its pair.
    """
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


def decide(shard: Shard, plan: FilterPlan, table: Any = None) -> Rejections:
    """The rows of the shard that the plan's filters put out, of those that are left."""
    steps = plan.steps()
    fates: Rejections = {}
    if not steps:
        return fates
    table = read(shard.path, Trace) if table is None else table
    pairs = pairs_of(shard, table)
    # A filter may say of a whole column which texts it need not see: `prefilter(reasoning) -> list of bool`.
    looks = [step.prefilter(table["reasoning"]) if hasattr(step, "prefilter") else None for step in steps]
    for row, trace in enumerate(traces(table)):
        if trace.error is not None or row in shard.fates:
            continue
        for place, (step, look) in enumerate(zip(steps, looks, strict=True), plan.at):
            if look is not None and not look[row]:
                continue
            reason = step(pairs[trace.pair_id], trace)
            if reason is not None and not spared(trace, plan.accepted):
                fates[row] = (place, reason)
                break
    return fates


def spared(trace: Trace, accepted: frozenset[Key]) -> bool:
    """Whether a person wants the trace kept, and it has a verdict to learn."""
    return trace.verdict is not None and (trace.pair_id, trace.sample) in accepted
