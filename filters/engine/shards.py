"""One file of traces (a shard), its pairs, and the row filters on it; `run`, `explain` and `tokens` call it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from distill import store
from distill.errors import DataError
from distill.records import Pair, Trace, from_columns
from filters.base import Key, RowFilter, Tools
from filters.engine.build import looks_at, prepare, reason_of
from filters.settings import Thresholds, make

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 2048
Rejections = dict[int, tuple[int, str]]  # row of a shard: place of the filter in the list, and its reason


@dataclass(slots=True)
class Shard:
    """A file of traces, which of its rows have been rejected, and those of its pairs that were changed."""

    number: int
    path: str
    rows: int
    pairs: str
    rejections: Rejections = field(default_factory=dict)
    changed: dict[str, Pair] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of what is written for it."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True)
class FilterPlan:
    """Row filters to run, the first at place `first` of the list; `accepted` traces are kept whatever they say.

    `filters` are the prepared ones of this process; in another one they are made anew from `entries` and `tools`.
    """

    entries: Sequence[tuple[str, Thresholds]]
    first: int
    tools: Tools
    accepted: frozenset[Key]
    filters: Sequence[RowFilter] | None = None

    def __reduce__(self) -> tuple[type[FilterPlan], tuple[object, ...]]:
        return FilterPlan, (self.entries, self.first, self.tools, self.accepted)

    def prepared(self) -> Sequence[RowFilter]:
        """The filters, ready to be called."""
        if self.filters is not None:
            return self.filters
        made = [prepare(make(name, thresholds, self.tools.base), self.tools) for name, thresholds in self.entries]
        return [prepared for prepared in made if isinstance(prepared, RowFilter)]

    @property
    def picklable(self) -> bool:
        """Whether another process can run it: not where a filter uses a tool that belongs to this process."""
        try:
            pickle.dumps(self)
        except Exception:
            return False
        return True


def plan(
    filters: Sequence[RowFilter], first: int, entries: Sequence[tuple[str, Thresholds]], tools: Tools,
    accepted: frozenset[Key],
) -> FilterPlan:  # fmt: skip
    """For the filters of the list from place `first` on, each with its entry, and only the tools that they use."""
    used = [name for prepared in filters for name in prepared.uses()]
    return FilterPlan(entries, first, replace(tools.only(used), decided={}, identity={}), accepted, filters)


def list_shards(traces: str, pairs: str) -> list[Shard]:
    """The Parquet files of a folder of traces, in order."""
    return [Shard(number, path, rows, pairs) for number, (path, rows) in enumerate(parquet_files(traces))]


def parquet_files(folder: str) -> list[tuple[str, int]]:
    """(path, rows) of the folder's Parquet files, in order."""
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(folder)
    files = []
    for path in store.parquet_files(fs, inner):
        with fs.open(path, "rb") as source:
            files.append((fs.unstrip_protocol(path), pq.read_metadata(source).num_rows))
    return files


def read(path: str, columns: Sequence[str]) -> pa.Table:
    """The columns of a Parquet file."""
    fs, inner = store.filesystem(path)
    with fs.open(inner, "rb") as source:
        return store.read_table(source, columns)


def read_traces(shard: Shard) -> pa.Table:
    """A shard's rows."""
    return read(shard.path, store.schema_of(Trace).names)


def traces(table: pa.Table) -> Iterator[Trace]:
    """The rows of a shard's table."""
    for batch in table.to_batches(max_chunksize=BATCH):
        yield from from_columns(Trace, [column.to_pylist() for column in batch.columns])


def traces_left(shard: Shard, table: pa.Table) -> Iterator[tuple[int, Trace]]:
    """The answered rows of a shard's table that no filter has rejected, with their numbers."""
    for row, trace in enumerate(traces(table)):
        if trace.error is None and row not in shard.rejections:
            yield row, trace


def pairs_of(shard: Shard, table: pa.Table) -> dict[str, Pair]:
    """The pairs of a shard's traces: of the sorted pairs, only the row groups that can hold them are read.

    Raises DataError for a trace without its pair.
    """
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    if not table.num_rows:
        return {}
    ends = pc.min_max(table["pair_id"]).as_py()
    fs, inner = store.filesystem(shard.pairs)
    files = store.parquet_files(fs, inner)
    within = (ds.field("pair_id") >= ends["min"]) & (ds.field("pair_id") <= ends["max"])
    names = store.schema_of(Pair).names
    wanted = within & ds.field("pair_id").isin(table["pair_id"].combine_chunks())
    columns = ds.dataset(files, filesystem=fs, format="parquet").to_table(names, filter=wanted)
    pairs = {pair.pair_id: pair for pair in from_columns(Pair, [columns[name].to_pylist() for name in names])}
    for pair_id in table["pair_id"].unique().to_pylist():
        if pair_id not in pairs:
            raise DataError(f"traces: pair {pair_id} is not among the pairs; run the pairs stage again")
    return pairs | shard.changed


def rejections_of(shard: Shard, plan: FilterPlan, table: pa.Table | None = None) -> Rejections:
    """The rows of the shard that the plan's filters reject, of those that are left."""
    filters = plan.prepared()
    rejections: Rejections = {}
    if not filters:
        return rejections
    table = read_traces(shard) if table is None else table
    pairs = pairs_of(shard, table)
    steps = [
        (place, row_filter, looks_at(row_filter, table["reasoning"]))
        for place, row_filter in enumerate(filters, plan.first)
    ]
    for row, trace in traces_left(shard, table):
        pair = pairs[trace.pair_id]
        for place, row_filter, must_look in steps:
            if must_look is not None and not must_look[row]:
                continue
            reason = reason_of(row_filter, pair, trace, plan.tools.as_sent)
            if reason is not None and not is_accepted(trace, plan.accepted):
                rejections[row] = (place, reason)
                break
    return rejections


def is_accepted(trace: Trace, accepted: frozenset[Key]) -> bool:
    """Whether a person wants the trace kept, and it has a verdict to learn."""
    return trace.verdict is not None and (trace.pair_id, trace.sample) in accepted
