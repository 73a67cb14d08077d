"""Workers of the scorer as Ray actors, for a run that is connected to a Ray cluster (RAY_ADDRESS)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from distill.driver_files import look, model_as_seen
from distill.errors import Stopped, first_line
from distill.ray_cluster import Node, nodes, on_cluster, on_node
from distill.rerank.workers import Numbered, Report, Worker, best_count, is_wide_student

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from distill.rerank.jobs import Student


class Actor:
    """A worker in an actor. A call waits until Ray has placed it: on `node`, or on whatever node has the CPUs and GPUs.

    Without GPUs torch takes as many threads as the actor has CPUs.
    """

    def __init__(self, cpus: int = 1, gpus: int = 0, node: str | None = None) -> None:
        import ray

        self._cpus, self._gpus, self._node = cpus, gpus, node
        where = "SPREAD" if node is None else on_node(node, soft=True)
        made = ray.remote(Worker).options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=where, max_restarts=0)
        threads = None if gpus else cpus
        self._actor = cast("ActorHandle[Worker]", made.remote(lambda student: threads))

    def exchange(self, student: Student | None, pairs: Numbered) -> Future[Report]:
        """See `Worker.exchange`; the future has a BrokenExecutor where actor or node are gone."""
        from ray.exceptions import RayError, RayTaskError

        result: Future[Report] = Future()

        def done(call: Future[Report]) -> None:
            error = call.exception()
            if error is None:
                result.set_result(call.result())
            elif isinstance(error, RayTaskError):  # raised by the worker itself
                result.set_exception(error.cause if isinstance(error.cause, Exception) else error)
            else:
                result.set_exception(BrokenExecutor(first_line(error)) if isinstance(error, RayError) else error)

        sent = student and replace(student, model=model_as_seen(student.model))
        self._actor.exchange.remote(sent, pairs).future().add_done_callback(done)
        return result

    def again(self) -> Actor:
        """Another actor on the same node, or where that is gone on one that is there, and no larger than it."""
        self.close()
        there = {node.id: node.cpus for node in nodes()}
        node = self._node if self._node in there else None
        most = there[node] if node else max(there.values(), default=1)
        return Actor(max(1, min(self._cpus, most)), self._gpus, node)

    def close(self) -> None:
        """End the actor, whatever it does."""
        import ray

        ray.kill(self._actor)

    def check(self) -> None:
        """Raise Stopped where the cluster has lost its last node."""
        import ray

        if not any(node["Alive"] for node in ray.nodes()):
            raise Stopped("scoring: Ray has lost its last node; nothing is lost, run again")


def on_the_cluster(student: Student, most: int) -> Sequence[Actor]:
    """The actors for a student, `most` at most: as many as its settings say, else one for each of the cluster's GPUs
    (or as many as an actor has); where it has none, on each node as many as processes would be on such a machine, which
    share its CPUs."""
    from ray._private.state import available_resources_per_node  # of Ray's developer API

    gpus = gpus_of_cluster()
    if os.path.isdir(student.model):
        look(Path(student.model))
    each = student.scoring.gpus_per_actor
    if gpus:
        count = student.scoring.actors or gpus // each
        return [Actor(gpus=each) for _ in range(max(1, min(count, most)))]
    free = {node: int(offers.get("CPU", 0)) for node, offers in available_resources_per_node().items()}
    return [Actor(cpus, node=node) for node, cpus in placed(student, nodes(), free, most)]


def placed(student: Student, there: Sequence[Node], free: Mapping[str, int], most: int) -> list[tuple[str | None, int]]:
    """(node, its CPUs) of the actors on a cluster without GPUs, `most` at most. `free` are CPUs by node.

    Each belongs to the node by whose free CPUs it is sized. Where all have a single CPU they go wherever there is one,
    so that those which find no place now find one on a node that joins later.
    """
    cpus = {node.id: (is_wide_student(student) and free.get(node.id)) or node.cpus for node in there if node.cpus}
    counts: Counter[str] = Counter()
    if not cpus:
        return [(None, 1)]
    if student.scoring.actors:
        for _ in range(student.scoring.actors):
            counts[max(cpus, key=lambda node: cpus[node] / (counts[node] + 1))] += 1
    else:
        memory = {node.id: int(node.memory_gib * 2**30) for node in there}
        counts.update({node: max(1, best_count(student, cpus[node], memory[node])) for node in cpus})
    sizes = sorted(((cpus[node] // counts[node], node) for node in counts.elements()), reverse=True)
    return [(node if sizes[0][0] > 1 else None, max(1, size)) for size, node in sizes[: max(1, most)]]


def gpus_of_cluster() -> int:
    """The GPUs of the cluster that RAY_ADDRESS names, 0 without one. Raises Stopped where it is not reached."""
    return sum(node.gpus for node in nodes()) if on_cluster() else 0
