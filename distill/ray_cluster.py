"""Joins a Ray cluster or starts Ray on this machine; what nodes it has, and whether they see a folder.

Used by the pipeline, the teacher, the filters, training and the scorer: whatever works on several workers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import ConfigError, DistillError, Stopped, last_line
from distill.processes import cores

if TYPE_CHECKING:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

# Ray reads it when it is imported. Of a node that is lost it would print the last twenty lines of that node's log.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
STARTS = 3
# A Ray of one machine has nobody to replace a node that is only slow: it is given time. Nor does it end its workers,
# whose answers would be paid for again, because other programs use up the memory.
PATIENT = {
    "health_check_timeout_ms": 60_000, "worker_register_timeout_seconds": 300, "memory_monitor_refresh_ms": 0,
}  # fmt: skip
ANSWER_S = 600.0  # a node that installs packages for the job first takes minutes
HEAD, GPU_KIND = "node:__internal_head__", "accelerator_type:"  # Ray's own names among a node's resources


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: Ray's id, its address, what it offers, and whether it is the head."""

    id: str
    address: str
    cpus: int
    gpus: int
    memory_gib: float
    gpu_kind: str = ""
    head: bool = False


def on_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster, as inside a Ray job. Raises ConfigError for the address of a dashboard."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"RAY_ADDRESS: {address} is where jobs are submitted to; unset it here, or submit this command "
            "(`ray job submit -- distill ...`)"
        )
    return bool(address)


def connect(cpus: int, stage: str = "teacher") -> bool:
    """Join the cluster of RAY_ADDRESS, or start Ray on this machine; whether it was started here, to be shut down.

    `cpus` are those that it may hand out at least, `stage` is named in the message. Nothing is done where this process
    is connected. On a busy machine Ray gives its processes too little time, or two Rays that start together take the
    same port: it is started again, up to `STARTS` times. Raises Stopped when it does not start or cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    before = signal.getsignal(signal.SIGTERM)
    joins = on_cluster()
    starts = 1 if joins else STARTS
    quietly = partial(ray.init, logging_level=logging.ERROR, log_to_driver=False)
    local = partial(quietly, "local", include_dashboard=False, object_store_memory=200 << 20, _system_config=PATIENT)
    for number in range(1, starts + 1):
        try:
            quietly() if joins else local(num_cpus=max(cpus, cores()))
            break
        except Exception as error:  # Ray raises a plain Exception when its node is slow to start
            ray.shutdown()
            if number == starts:
                address = os.environ.get("RAY_ADDRESS")
                failed = f"the Ray of RAY_ADDRESS {address} is not reached" if joins else "Ray does not start here"
                reason = last_line(str(error)) or type(error).__name__
                raise Stopped(f"{stage}: {failed} ({reason}); nothing is lost, run again") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would end the driver with status 15
    return not joins


def nodes() -> list[Node]:
    """The nodes that are there now, the head first; joins the cluster, or starts Ray here. Raises Stopped."""
    import ray

    connect(1, "ray")
    found = []
    for each in ray.nodes():
        if not each["Alive"]:
            continue
        offers: dict[str, float] = each["Resources"]
        kind = next((name.removeprefix(GPU_KIND) for name in offers if name.startswith(GPU_KIND)), "")
        found.append(
            Node(
                each["NodeID"],
                each["NodeManagerAddress"],
                int(offers.get("CPU", 0)),
                int(offers.get("GPU", 0)),
                offers.get("memory", 0) / 2**30,
                kind,
                HEAD in offers,
            )
        )
    return sorted(found, key=lambda node: (not node.head, node.address, node.id))


def on_node(node_id: str, soft: bool = False) -> NodeAffinitySchedulingStrategy:
    """Where Ray is to run a task or an actor: on this node; `soft`: elsewhere where it is gone."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=soft)


def this_node() -> NodeAffinitySchedulingStrategy:
    """On the node of this process, which is connected."""
    import ray

    return on_node(ray.get_runtime_context().get_node_id())


def unseen(folder: Path, others: Sequence[Path] = ()) -> dict[Path, str]:
    """{path: addresses of the nodes that do not see it} of `folder` and `others`, those that all see left out.

    Every node that offers CPUs or GPUs reads and writes in `folder`, and looks for `others`. Raises ConfigError for
    nodes that lack this package.
    """
    import ray

    mark = folder / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    asked = [node for node in nodes() if node.cpus or node.gpus]
    look = ray.remote(_unseen)
    try:
        calls = {
            look.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node.id)).remote(
                str(mark), f"{mark.name}.{node.id}", [str(path) for path in others]
            ): node
            for node in asked
        }
        answered, silent = ray.wait(list(calls), num_returns=len(calls), timeout=ANSWER_S) if calls else ([], [])
        missing: dict[str, list[str]] = {}
        for call in answered:
            try:
                for path in ray.get(call):
                    missing.setdefault(path, []).append(calls[call].address)
            except ray.exceptions.RayTaskError as error:
                raise ConfigError(f"ray: node {calls[call].address}: {last_line(str(error))}") from None
            except ray.exceptions.RayError as error:
                if calls[call].id in {node.id for node in nodes()}:
                    raise DistillError(f"ray: node {calls[call].address}: {last_line(str(error))}") from None
        if silent:
            names = ", ".join(sorted({calls[call].address for call in silent}))
            raise Stopped(f"ray: the nodes {names} do not answer; end them, or wait, and run again")
    finally:
        for path in folder.glob(f"{mark.name}*"):
            path.unlink(missing_ok=True)
    named = {path: ", ".join(sorted({*addresses})) for path, addresses in missing.items()}
    return {folder if path == str(mark) else Path(path): addresses for path, addresses in named.items()}


def _unseen(mark: str, answer: str, others: list[str]) -> list[str]:
    """Those of the paths that this node does not see; it writes `answer` next to the mark."""
    try:
        seen = Path(mark).exists()
        if seen:
            Path(mark).with_name(answer).touch()
    except OSError:
        seen = False
    return [path for path, there in ((mark, seen), *((other, Path(other).exists()) for other in others)) if not there]
