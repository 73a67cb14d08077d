"""The row filters on a Ray cluster, by Ray Data; the pipeline's filter stage hands it to `run` within a Ray job.

The functions are those of the local processes, so files, order and hashes are those of a run on one machine. A row of
the Ray Data set is a shard's path, not its traces: each worker reads its shard from the storage that all share, or from
the driver's disk (`distill.driver_files`), and writes the kept and rejected rows there.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any


class OnRay(Executor):
    """`Executor.map` by Ray Data, for `filter_folders(..., executor=OnRay())`. Ray must run.

    `free` is called before tasks are given out: it ends actors that wait and would keep their CPUs from them.
    """

    def __init__(self, free: Callable[[], None] = lambda: None) -> None:
        self._free = free

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        """Results in order. Raises what a worker raised."""
        import ray
        import ray.data

        self._free()
        for handler in logging.getLogger("ray.data").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL)  # what a function raises comes back as a value
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        given = enumerate(zip(*iterables, strict=True))
        work = [{"index": index, "work": pickle.dumps(arguments)} for index, arguments in given]
        call = pickle.dumps(fn)

        def run(row: dict[str, Any]) -> dict[str, Any]:
            try:
                result: Any = pickle.loads(call)(*pickle.loads(row["work"]))
            except Exception as error:  # returned as a value: Ray Data would wrap it and try again
                result = _Raised(error)
            return {"index": row["index"], "result": pickle.dumps(result)}

        early: dict[int, Any] = {}
        wanted = 0
        for row in ray.data.from_items(work, override_num_blocks=len(work)).map(run).iter_rows():
            early[row["index"]] = pickle.loads(row["result"])
            while wanted in early:
                result = early.pop(wanted)
                if isinstance(result, _Raised):
                    raise result.error
                wanted += 1
                yield result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: Ray belongs to whoever started it."""


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error
