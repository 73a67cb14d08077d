"""The filters over folders of traces, streamed and in several processes; the pipeline's filter stage calls it.

Row filters run shard by shard, in processes of their own where there are many rows; a group filter reads all that is
left, once. Kept and rejected rows go from Parquet to Parquet by a mask: no trace is held longer than its shard is.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any, TypeVar

from distill import store
from distill.records import Pair
from distill.results import Counts
from filters.base import GroupFilter, RowFilter, Tools
from filters.engine import cache_keys
from filters.engine.adjudicated import accepted
from filters.engine.build import build
from filters.engine.cache import Cache
from filters.engine.groups import run_group
from filters.engine.shards import FilterPlan, list_shards, plan, rejections_of
from filters.engine.write import total, write
from filters.settings import FilterSettings

WORTH_A_PROCESS = 100_000  # rows; a process takes a second to start
T = TypeVar("T")


def filter_folders(
    pairs: str, traces: str, kept: str, rejected: str, changed: str, settings: FilterSettings,
    tools: Tools | None = None, processes: int = 2, executor: Executor | None = None, verdicts: str | None = None,
) -> Counts:  # fmt: skip
    """Fill `kept`, `rejected` and `changed` (pairs with another label); counts, with `rows` kept and their `data_hash`.

    `traces` are sorted by (pair_id, sample), as they are written. Manifests are removed first and not written here.
    `executor` runs the shards elsewhere (`filters.engine.ray_data.OnRay`). `verdicts` is the folder of the cache
    (`filters.engine.cache`): unchanged filters are not called again. Raises DataError for a trace without its pair,
    ConfigError for a missing tool and for an external filter that raises or does not say what a filter says.
    """
    tools = tools or Tools()
    filters = build(settings, tools)
    names = [prepared.name for prepared in filters]
    unlisted = len(filters) - len(settings.entries())  # a person's decisions
    accepted_traces = accepted(tools.decided)
    shards = list_shards(traces, pairs)
    cache = Cache(verdicts, cache_keys.keys(settings, tools) if verdicts else [])
    known, changes = cache.recall(shards)
    alone = sum(shard.rows for shard in shards) < WORTH_A_PROCESS or processes < 2 or len(shards) < 2
    pool: AbstractContextManager[Executor | None] = executor or (nullcontext(None) if alone else _pool(processes))
    with pool as workers:
        first, last_plan = known, plan([], len(filters), [], tools, accepted_traces)
        for grouped, members in groupby(filters[known:], key=lambda prepared: isinstance(prepared, GroupFilter)):
            several = list(members)
            end = first + len(several)
            if grouped:
                for place, prepared in enumerate(several, first):
                    if isinstance(prepared, GroupFilter):
                        changes += run_group(prepared, place, shards, accepted_traces)
            else:
                rows = [prepared for prepared in several if isinstance(prepared, RowFilter)]
                entries = settings.entries()[first - unlisted : end - unlisted]
                row_plan = plan(rows, first, entries, tools, accepted_traces)
                if end == len(filters):  # the last row filters run where their shard is written
                    last_plan = row_plan
                else:
                    rejections = _map(workers, row_plan, rejections_of, [(shard, row_plan) for shard in shards])
                    for shard, rejected_rows in zip(shards, rejections, strict=True):
                        shard.rejections |= rejected_rows
            first = end
        cache.forget()
        for folder in (kept, rejected):
            store.clear_rows(folder)
        work = [(s, last_plan, f"{kept}/{s.file}", f"{rejected}/{s.file}", cache.file(s), names) for s in shards]
        written = list(_map(workers, last_plan, write, work))
    relabelled = {pair.pair_id: pair for _, _, pair in changes}
    changed_hash = store.write_rows(changed, relabelled.values(), Pair)["data_hash"]
    cache.keep(shards, changes)
    counts = total(names, written, pairs, traces)
    counts.relabelled = len(relabelled)
    # Later stages read the relabelled pairs too. Without any, the hash is that of the kept traces alone, as before.
    hashes = [*(shard.kept_hash for shard in written), *([changed_hash] if relabelled else [])]
    data_hash = hashlib.sha256("".join(hashes).encode()).hexdigest()
    actions = Counter(str(decision["action"]) for decision in tools.decided.values())
    return {
        **counts.counts(),
        **({"decided": dict(sorted(actions.items()))} if actions else {}),
        "filters_run": len(filters) - known,
        "rows": counts.samples["kept"],
        "data_hash": data_hash,
    }


def _pool(processes: int) -> ProcessPoolExecutor:
    import multiprocessing

    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), gc.disable)


def _map(
    pool: Executor | None, row_plan: FilterPlan, call: Callable[..., T], work: Iterable[tuple[Any, ...]]
) -> Iterator[T]:
    """`call` of each, in order: in the pool, unless a filter uses a tool that belongs to this process."""
    columns = list(zip(*work, strict=True))
    if not columns:
        return iter(())
    return map(call, *columns) if pool is None or not row_plan.picklable else pool.map(call, *columns)
