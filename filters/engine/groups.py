"""One group filter on all shards; `run` and `explain` call it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from distill.records import Pair
from filters.base import GroupFilter, Key, Row
from filters.engine.build import checked_pair, checked_reason, faulty_filter, outcomes_of
from filters.engine.shards import Shard, is_accepted, pairs_of, read_traces, traces_left

Changes = list[tuple[int, int, Pair]]  # place of the filter in the list, number of the shard, the changed pair


def run_group(group_filter: GroupFilter, place: int, shards: Sequence[Shard], accepted: frozenset[Key]) -> Changes:
    """Enter what the filter at `place` of the list says of all rows that are left into the shards; the changed pairs.

    Raises PluginError where it says nothing that can be used.
    """
    outcomes = outcomes_of(group_filter, _rows_left(shards))
    changes: Changes = []
    left = ((shard, *row) for shard in shards for row in traces_left(shard, read_traces(shard)))
    for shard, row, trace in left if outcomes else ():
        outcome = outcomes.pop((trace.pair_id, trace.sample), None)
        if outcome is None:
            continue
        if isinstance(outcome, Pair):
            if shard.changed.get(trace.pair_id) != checked_pair(group_filter, outcome, trace):
                changes.append((place, shard.number, outcome))
            shard.changed[trace.pair_id] = outcome
        elif not is_accepted(trace, accepted):
            shard.rejections[row] = (place, checked_reason(group_filter, outcome, trace))
    if outcomes:
        fault = f"returned the key {next(iter(outcomes))!r}, which no trace of its rows has"
        raise faulty_filter(group_filter, "__call__", fault, "its keys are (trace.pair_id, trace.sample)")
    return changes


def _rows_left(shards: Sequence[Shard]) -> Iterator[Row]:
    for shard in shards:
        table = read_traces(shard)
        pairs = pairs_of(shard, table)
        for _, trace in traces_left(shard, table):
            yield pairs[trace.pair_id], trace
