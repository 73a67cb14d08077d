"""What each filter said of a pair's traces, whether or not an earlier one had put them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from distill.errors import DataError
from distill.records import Pair, Trace
from filters.base import Tools
from filters.build import build, is_group
from filters.funnel import decide
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
    rows = []
    whole = any(is_group(step) for step in steps)
    for at in ours:
        trace = everything[at]
        for number, step in enumerate(steps):
            if not is_group(step):
                reason = step(pairs[pair_id], trace)
                rows.append((trace.sample, step.name, reason or "keeps it"))
                continue
            fates, changed = decide(pairs, everything, steps[: number + 1]) if whole else ([], {})
            fate = fates[at]
            if fate is None:
                pair = changed.get(pair_id)
                rows.append((trace.sample, step.name, f"keeps it, label now {pair.label}" if pair else "keeps it"))
            else:
                rows.append(
                    (trace.sample, step.name, fate[1] if fate[0] == step.name else f"did not see it ({fate[0]})")
                )
    return rows
