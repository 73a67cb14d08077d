"""Joins a Ray cluster or starts Ray on this machine. For the teacher, the filters and training on several workers."""

from __future__ import annotations

import logging
import os
import signal
import threading
from functools import partial

from distill.errors import Stopped, last_line
from distill.processes import cores

STARTS = 3
# A Ray of one machine has nobody to replace a node that is only slow: it is given time.
PATIENT = {"health_check_timeout_ms": 60_000, "worker_register_timeout_seconds": 300}


def connect(cpus: int, stage: str = "teacher") -> bool:
    """Join the cluster of RAY_ADDRESS (set inside a Ray job), or start Ray on this machine; whether it was started.

    `cpus` are those that it may hand out at least, `stage` is named in the message. On a busy machine Ray gives its
    processes too little time, or two Rays that start together take the same port: it is started again, up to `STARTS`
    times. Raises Stopped when it does not start or cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    before = signal.getsignal(signal.SIGTERM)
    address = os.environ.get("RAY_ADDRESS")
    starts = 1 if address else STARTS
    quietly = partial(ray.init, logging_level=logging.ERROR, log_to_driver=False)
    local = partial(quietly, "local", include_dashboard=False, object_store_memory=200 << 20, _system_config=PATIENT)
    for number in range(1, starts + 1):
        try:
            quietly() if address else local(num_cpus=max(cpus, cores()))
            break
        except Exception as error:  # Ray raises a plain Exception when its node is slow to start
            ray.shutdown()
            if number == starts:
                failed = f"the Ray of RAY_ADDRESS {address} is not reached" if address else "Ray does not start here"
                reason = last_line(str(error)) or type(error).__name__
                raise Stopped(f"{stage}: {failed} ({reason}); nothing is lost, run again") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would end the driver with status 15
    return True
