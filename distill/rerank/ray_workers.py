"""Workers of the scorer as Ray actors, for a run that is connected to a Ray cluster (RAY_ADDRESS)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import TYPE_CHECKING, cast

from distill.errors import Stopped, first_line
from distill.ray_cluster import nodes, on_cluster
from distill.rerank.workers import Numbered, Report, Worker

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from distill.rerank.jobs import Student


class Actor:
    """A worker in an actor, on whatever node has the CPU and the GPUs. A call waits until Ray has placed it."""

    def __init__(self, gpus: int) -> None:
        import ray

        self._gpus = gpus
        made = ray.remote(Worker).options(num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0)
        self._actor = cast("ActorHandle[Worker]", made.remote())

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

        self._actor.exchange.remote(student, pairs).future().add_done_callback(done)
        return result

    def again(self) -> Actor:
        """Another actor, which Ray places on a node that is there."""
        self.close()
        return Actor(self._gpus)

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
    """As many actors as the student's settings say, else one for each of the cluster's GPUs (or as many as an actor
    has), or CPUs where it has no GPU; `most` at most."""
    given = student.scoring
    gpus = gpus_of_cluster()
    each = given.gpus_per_actor if gpus else 0
    cpus = sum(node.cpus for node in nodes())
    count = given.actors or (gpus // each if each else cpus)
    return [Actor(each) for _ in range(max(1, min(count, most)))]


def gpus_of_cluster() -> int:
    """The GPUs of the cluster that RAY_ADDRESS names, 0 without one. Raises Stopped where it is not reached."""
    return sum(node.gpus for node in nodes()) if on_cluster() else 0
