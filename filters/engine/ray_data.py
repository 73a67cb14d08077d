"""The row filters on a Ray cluster: shards through Ray Data, the same functions as in local processes, so the same
outcome.

A row of the Ray Data set is a shard's place, not its traces: each worker reads its shard from the storage that all
share and writes what comes of it there, so that no trace passes through the object store, and files, order and hashes
are those of a run on one machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any


class OnRay(Executor):
    """`Executor.map` by Ray Data, for `filter_folders(..., executor=OnRay())`. Ray must run and see the folders."""

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        """Results in order. Raises what a worker raised."""
        import ray
        from ray import cloudpickle

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        work = [{"at": at, "work": cloudpickle.dumps(given)} for at, given in enumerate(zip(*iterables, strict=True))]
        call = cloudpickle.dumps(fn)

        def run(row: dict[str, Any]) -> dict[str, Any]:
            try:
                said: Any = cloudpickle.loads(call)(*cloudpickle.loads(row["work"]))
            except Exception as error:  # travels as a value: Ray Data would wrap it and try again
                said = _Raised(error)
            return {"at": row["at"], "said": cloudpickle.dumps(said)}

        early: dict[int, Any] = {}
        wanted = 0
        for row in ray.data.from_items(work, override_num_blocks=len(work)).map(run).iter_rows():
            early[row["at"]] = cloudpickle.loads(row["said"])
            while wanted in early:
                said = early.pop(wanted)
                if isinstance(said, _Raised):
                    raise said.error
                wanted += 1
                yield said

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: Ray belongs to whoever started it."""


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error
