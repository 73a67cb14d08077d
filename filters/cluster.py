"""The row filters on a Ray cluster: one task a shard, the same functions as in local processes, so the same outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any


class OnRay(Executor):
    """`Executor.map` by Ray tasks, for `filter_folders(..., executor=OnRay())`. Ray must run and see the folders.

    At most `ahead` shards are in flight, so that a cluster's memory does not decide how many there may be.
    """

    def __init__(self, ahead: int = 64) -> None:
        self.ahead = ahead

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        """Results in order. Raises what a task raised."""
        import ray
        from ray.exceptions import RayTaskError

        task = ray.remote(fn)
        waiting: list[Any] = []
        try:
            for arguments in zip(*iterables, strict=True):
                waiting.append(task.remote(*arguments))
                if len(waiting) >= self.ahead:
                    yield ray.get(waiting.pop(0))
            while waiting:
                yield ray.get(waiting.pop(0))
        except RayTaskError as error:
            raise error.cause from None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: Ray belongs to whoever started it."""
