"""What each filter says of one pair's traces, by the engine's own decisions; `distill filter --explain` calls it."""

from __future__ import annotations

from distill.errors import DataError
from distill.records import Pair, Trace
from filters.base import GroupFilter, RowFilter, Tools
from filters.engine.adjudicated import Adjudicated, accepted
from filters.engine.build import build, reason_of
from filters.engine.groups import run_group
from filters.engine.shards import Shard, is_accepted, list_shards, pairs_of, plan, read_traces, rejections_of, traces
from filters.settings import FilterSettings


def explain(
    pair_id: str, pairs: str, traces: str, settings: FilterSettings, tools: Tools | None = None
) -> list[tuple[int, str, str]]:
    """[(sample, filter, what it says)] in the filters' order; "keeps it" where it has no objection.

    `pairs` and `traces` are folders. A row filter is asked of every trace of the pair; a group filter says what it says
    in the whole run, where "did not see it" is a trace that an earlier filter rejected. Raises DataError for a pair
    that has no traces.
    """
    tools = tools or Tools()
    shards = list_shards(traces, pairs)
    own, pair = _rows_of(pair_id, shards)
    if pair is None:
        raise DataError(f"{pair_id}: no answered trace has this pair_id; `traces/` lists them")
    filters = build(settings, tools)
    kept_by_person = accepted(tools.decided)
    grouped = [place for place, prepared in enumerate(filters) if isinstance(prepared, GroupFilter)]
    words: dict[int, list[tuple[int, str, str]]] = {trace.sample: [] for _, _, trace in own}
    for place, prepared in enumerate(filters):
        if isinstance(prepared, GroupFilter):
            run_group(prepared, place, shards, kept_by_person)
        elif grouped and place < grouped[-1]:  # a group filter that follows must not see what this one rejects
            for shard in shards:
                shard.rejections |= rejections_of(shard, plan([prepared], place, [], tools, kept_by_person))
        for shard, row, trace in own:
            changed = shard.changed.get(pair_id)
            word = f"keeps it, label now {changed.label}" if changed else "keeps it"
            rejection = shard.rejections.get(row)
            if isinstance(prepared, RowFilter):
                word = reason_of(prepared, changed or pair, trace, tools.as_sent) or "keeps it"
            elif rejection is not None:
                word = rejection[1] if rejection[0] == place else f"did not see it ({filters[rejection[0]].name})"
            elif isinstance(prepared, Adjudicated) and is_accepted(trace, kept_by_person):
                word = "accepted by a person: kept whatever the filters say"
            words[trace.sample].append((trace.sample, prepared.name, word))
    return [word for sample in words for word in words[sample]]


def _rows_of(pair_id: str, shards: list[Shard]) -> tuple[list[tuple[Shard, int, Trace]], Pair | None]:
    """The pair's answered traces with their shards and rows, and the pair; None where it has none."""
    import pyarrow.compute as pc

    own: list[tuple[Shard, int, Trace]] = []
    pair = None
    for shard in shards:
        table = read_traces(shard)
        is_own = pc.equal(table["pair_id"], pair_id)
        rows, of_pair = pc.indices_nonzero(is_own).to_pylist(), table.filter(is_own)
        answered = [
            (shard, row, trace) for row, trace in zip(rows, traces(of_pair), strict=True) if trace.error is None
        ]
        if answered:
            own += answered
            pair = pairs_of(shard, of_pair)[pair_id]
    return own, pair
