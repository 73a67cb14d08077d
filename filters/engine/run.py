"""The filters over folders of shards: streamed, two processes, the same outcome as `filters.engine.counts.sift`.

Row filters run shard by shard, in processes of their own where there is much to do; a group filter reads all that is
left, once. Kept and rejected rows go from Parquet to Parquet by a mask: no trace is held longer than its shard is.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

from distill import store
from distill.records import Pair, Trace
from filters.adjudicated import accepted
from filters.base import GroupFilter, Key, Tools
from filters.engine import cache_keys
from filters.engine.build import build, is_group
from filters.engine.cache import Cache, Changes
from filters.engine.shards import FilterPlan, Shard, decide, pairs_of, plan, read, shards, spared, traces
from filters.engine.write import empty, total, write
from filters.settings import FilterSettings

WORTH_A_PROCESS = 100_000  # rows; a process takes a second to start


def filter_folders(
    pairs: str, traces: str, kept: str, rejected: str, changed: str, settings: FilterSettings,
    tools: Tools | None = None, processes: int = 2, executor: Executor | None = None, verdicts: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fill `kept`, `rejected` and `changed` (pairs with another label); returns counts, `rows` and `data_hash`.

    `traces` are sorted by (pair_id, sample), as they are written. Manifests are removed first and not written here.
    `executor` runs the shards elsewhere (`filters.engine.ray_data.OnRay`). `verdicts` is the folder of the cache
    (`filters.engine.cache`): unchanged filters are not called again. Raises DataError for a trace without its pair.
    """
    tools = tools or Tools()
    steps = build(settings, tools)
    names = [step.name for step in steps]
    given: list[Any] = [next(iter(entry.items())) for entry in settings.root]
    given = [None] * (len(steps) - len(given)) + given
    spare = accepted(tools.decided)
    todo = [Shard(n, path, rows, pairs) for n, (path, rows) in enumerate(shards(traces))]
    memory = Cache(verdicts, cache_keys.keys(settings, tools) if verdicts else [])
    known, changes = memory.recall(todo)
    own = sum(shard.rows for shard in todo) < WORTH_A_PROCESS or processes < 2 or len(todo) < 2
    pool: AbstractContextManager[Executor | None] = executor or (nullcontext(None) if own else _pool(processes))
    with pool as workers:
        at, tail = known, plan([], len(steps), [], tools.base, spare)
        for grouped, members in groupby(steps[known:], key=is_group):
            several: list[Any] = list(members)
            end = at + len(several)
            if grouped:
                for place, each in enumerate(several, at):
                    changes += _group(each, place, todo, spare)
            else:
                here = plan(several, at, given[at:end], tools.base, spare)
                if end == len(steps):  # the last row filters run where their shard is written
                    tail = here
                else:
                    said = _map(workers, here, decide, [(shard, here) for shard in todo])
                    for shard, fates in zip(todo, said, strict=True):
                        shard.fates |= fates
            at = end
        memory.forget()
        for folder in (kept, rejected):
            empty(folder)
        work = [(s, tail, f"{kept}/{s.file}", f"{rejected}/{s.file}", memory.file(s), names) for s in todo]
        written = list(_map(workers, tail, write, work))
    relabelled = {pair.pair_id: pair for _, _, pair in changes}
    changed_hash = store.write_rows(changed, relabelled.values(), Pair)["data_hash"]
    memory.keep(todo, changes)
    tally = total(names, written, pairs, traces)
    tally.relabelled = len(relabelled)
    # Later stages read the relabelled pairs too. Without any, the hash is that of the kept traces alone, as before.
    parts = [*(each.kept_hash for each in written), *([changed_hash] if relabelled else [])]
    data_hash = hashlib.sha256("".join(parts).encode()).hexdigest()
    decided = Counter(str(each["action"]) for each in tools.decided.values())
    counts = tally.counts() | ({"decided": dict(sorted(decided.items()))} if decided else {})
    return {**counts, "filters_run": len(steps) - known, "rows": tally.samples["kept"], "data_hash": data_hash}


def _pool(processes: int) -> ProcessPoolExecutor:
    import multiprocessing

    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), gc.disable)


def _map(pool: Executor | None, work: FilterPlan, call: Any, given: list[tuple[Any, ...]]) -> Iterator[Any]:
    """`call` over what is given, in order: in the pool, unless a filter holds a tool that must stay here."""
    if not given:
        return iter(())
    stays = work.here is not None and not work.picklable
    return (map if pool is None or stays else pool.map)(call, *zip(*given, strict=True))


def _group(step: GroupFilter, place: int, todo: list[Shard], spare: frozenset[Key]) -> Changes:
    """A group filter over what is left of all shards; its word goes into their fates, changed pairs are returned."""

    def left(rows: bool = False) -> Iterator[Any]:
        for shard in todo:
            table = read(shard.path, Trace)
            pairs = {} if rows else pairs_of(shard, table)
            for row, trace in enumerate(traces(table)):
                if trace.error is None and row not in shard.fates:
                    yield (shard, row, trace) if rows else (pairs[trace.pair_id], trace)

    said = step(left())
    if not said:
        return []
    changes: Changes = []
    for shard, row, trace in left(rows=True):
        word = said.get((trace.pair_id, trace.sample))
        if isinstance(word, Pair):
            if shard.changed.get(trace.pair_id) != word:
                changes.append((place, shard.number, word))
            shard.changed[trace.pair_id] = word
        elif word is not None and not spared(trace, spare):
            shard.fates[row] = (place, word)
    return changes
