"""What each filter said of a pair's traces, whether or not an earlier one had put them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from distill.errors import DataError
from distill.records import Pair, Trace
from filters.adjudicated import Adjudicated, accepted
from filters.base import Tools
from filters.engine.build import build, is_group
from filters.engine.counts import Rejection, walk
from filters.settings import FilterSettings


def explain(
    pair_id: str,
    pairs: Mapping[str, Pair],
    traces: Iterable[Trace],
    settings: FilterSettings,
    tools: Tools | None = None,
) -> list[tuple[int, str, str]]:
    """[(sample, filter, what it says)] in the filters' order; "keeps it" where it has no objection.

    Row filters are asked of every trace; group filters say what they said in the whole run, where "did not see it" is
    a trace that an earlier filter had put out. Raises DataError for a pair that has no traces.
    """
    everything = [trace for trace in traces if trace.error is None]
    ours = [at for at, trace in enumerate(everything) if trace.pair_id == pair_id]
    if not ours:
        raise DataError(f"{pair_id}: no answered trace has this pair_id; `traces/` lists them")
    steps = build(settings, tools)
    spared = accepted((tools or Tools()).decided)
    if not any(is_group(step) for step in steps):
        everything, ours = [everything[at] for at in ours], list(range(len(ours)))
    fates: list[Rejection] = [None] * len(everything)
    changed: dict[str, Pair] = {}
    said: dict[int, list[tuple[int, str, str]]] = {at: [] for at in ours}
    for step in walk(pairs, everything, steps, spared, fates, changed):
        for at in ours:
            trace, fate, pair = everything[at], fates[at], changed.get(pair_id)
            word = f"keeps it, label now {pair.label}" if pair else "keeps it"
            if not is_group(step):
                word = step(pair or pairs[pair_id], trace) or "keeps it"
            elif fate is not None:
                word = fate[1] if fate[0] == step.name else f"did not see it ({fate[0]})"
            elif isinstance(step, Adjudicated) and (pair_id, trace.sample) in spared and trace.verdict is not None:
                word = "accepted by a person: kept whatever the filters say"
            said[at].append((trace.sample, step.name, word))
    return [row for at in ours for row in said[at]]
