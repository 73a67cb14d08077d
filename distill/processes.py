"""Child processes that never outlive their parent, however it ends."""

from __future__ import annotations

import os
import threading
import time


def die_with_parent(poll_s: float = 0.5) -> None:
    """End this process soon after its parent is gone; to be called first thing in a child.

    A kill -9 of the parent gives it no chance to end its children, so each child looks for itself.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="die-with-parent").start()


def cores() -> int:
    """The CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
