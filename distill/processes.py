"""Child processes that never outlive their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def die_with_parent(poll_s: float = 0.5, parent: int | None = None) -> None:
    """End this process soon after its parent is gone; to be called first thing in a child.

    A kill -9 of the parent gives it no chance to end its children, so each child looks for itself. Where the
    parent was gone before this call, the child ends if it is given the parent's id, as `multiprocessing` gives its own.
    """
    starter = multiprocessing.parent_process()
    parent = parent or (os.getppid() if starter is None else starter.pid)

    def exit_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(poll_s)
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True, name="die-with-parent").start()


def in_background(work: Callable[[], Result]) -> Callable[[], Result]:
    """Begin `work` in a thread that no exit waits for; what is returned gives its result, or raises what it raised."""
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
