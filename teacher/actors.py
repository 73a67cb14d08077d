"""The Ray actors in which workers ask the teacher: started, fed, replaced when they die. Used by `teacher.session`.

What a dead actor had not handed over goes back to the session, and so to the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from distill.errors import DistillError, Stopped, last_line
from distill.plugins import own_faults
from distill.ray_cluster import connect, this_node
from teacher.endpoint import Endpoint
from teacher.messages import WireRequest, WorkerReport
from teacher.settings import TeacherSettings
from teacher.worker import Worker

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

DEATHS_IN_A_ROW = 5
LOOK_S = 5.0


class WorkerActor:
    """What runs inside an actor. Keys travel as SecretStr, which does not print."""

    def __init__(
        self, settings: TeacherSettings, endpoints: list[Endpoint], keys: list[SecretStr], stage: str = "trace"
    ) -> None:
        self._arguments = settings, endpoints, keys, stage
        self._worker: Worker | None = None

    async def exchange(
        self,
        requests: list[WireRequest],
        usd: float,
        tokens: float,
        keys: Mapping[int, SecretStr | None] | None = None,
    ) -> WorkerReport:
        """See Worker.exchange; `keys` are those that take the place of refused ones."""
        with own_faults():
            if self._worker is None:
                self._worker = make_worker(*self._arguments)
            if keys:
                self._worker.renew(keys)
            return await self._worker.exchange(requests, usd, tokens)


def make_worker(
    settings: TeacherSettings, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr], stage: str = "trace"
) -> Worker:
    """A worker with its share of the run's limits."""
    source = settings.made_source()
    connections = source.connect(endpoints, keys)
    return Worker(connections, settings.attempts, source.share(settings.concurrency), stage)


class ActorPool:
    """`settings.workers` actors. One exchange with each is always under way."""

    def __init__(
        self, settings: TeacherSettings, endpoints: list[Endpoint], keys: list[SecretStr], stage: str = "trace"
    ) -> None:
        import ray

        self._started_ray = connect(settings.workers)
        self._ray = ray
        self._settings = settings
        actor = settings.actor
        needs = settings.made_source().needs
        self._make = ray.remote(WorkerActor).options(
            num_cpus=0 if settings.embedded else actor.num_cpus,
            num_gpus=needs.num_gpus if actor.num_gpus is None else actor.num_gpus,
            resources=actor.resources or None,
            # The embedded teacher is reached on the driver's own machine alone.
            scheduling_strategy=this_node() if settings.embedded else "SPREAD",
            runtime_env={"env_vars": needs.env} if needs.env else None,
            max_restarts=0,
            max_concurrency=4,
        )
        self._arguments = settings, endpoints, keys, stage
        self.actors: list[ActorHandle[WorkerActor]] = [self._made() for _ in range(settings.workers)]
        self.held: list[dict[str, WireRequest]] = [{} for _ in self.actors]
        self.ready: set[int] = set()  # those that Ray has placed: a pending actor must hold no requests
        self._calls: dict[ObjectRef[WorkerReport], int] = {}
        self.lost = 0  # actors that died with requests in flight
        self._deaths = 0
        self._error: Exception | None = None
        self._looked = time.monotonic()

    def _made(self) -> ActorHandle[WorkerActor]:
        return cast("ActorHandle[WorkerActor]", self._make.remote(*self._arguments))

    @property
    def room(self) -> int:
        """How many requests one actor should hold: those in flight and as many waiting, so that it never idles."""
        return 2 * math.ceil(self._settings.concurrency / self._settings.workers)

    def idle(self) -> list[int]:
        """Actors with no exchange under way."""
        busy = set(self._calls.values())
        return [number for number in range(len(self.actors)) if number not in busy]

    def hand(
        self,
        number: int,
        requests: list[WireRequest],
        usd: float,
        tokens: float,
        keys: Mapping[int, SecretStr | None] | None = None,
    ) -> None:
        """Begin an exchange with an actor; one that is not ready yet must be handed nothing. `keys` replace refused
        ones."""
        self.held[number].update((request[0], request) for request in requests)
        self._calls[self.actors[number].exchange.remote(requests, usd, tokens, keys)] = number

    def collect(self, timeout_s: float) -> tuple[list[tuple[int, WorkerReport]], list[WireRequest]]:
        """Reports that have come, with their actors, and the requests that dead actors have left.

        Raises Stopped when actors die one after another without a single report, or Ray's last node is gone.
        """
        if self._error is not None:  # of the call before, whose reports are journalled by now
            raise self._error
        ready, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if ready or self.ready:
            self._looked = time.monotonic()
        elif time.monotonic() - self._looked > LOOK_S:  # no actor has reported for a while: is Ray still there?
            self._need_a_node()
        reports: list[tuple[int, WorkerReport]] = []
        left: list[WireRequest] = []
        for call in ready:
            number = self._calls.pop(call)
            try:
                report = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as error:
                self._error = error.cause if isinstance(error.cause, DistillError) else error  # else a bug of ours
                continue
            except self._ray.exceptions.RayError as error:
                try:
                    left += self._replace(number, error)
                except Stopped as stopped:
                    self._error = stopped
                continue
            self._deaths = 0
            self.ready.add(number)
            for request_id in report.done:
                self.held[number].pop(request_id, None)
            reports.append((number, report))
        if self._error is not None and not reports:
            raise self._error
        return reports, left

    def close(self) -> None:
        """End the actors, and Ray when it was started here."""
        for actor in self.actors:
            self._ray.kill(actor)
        if self._started_ray:
            self._ray.shutdown()

    def _need_a_node(self) -> None:
        self._looked = time.monotonic()
        if not any(node["Alive"] for node in self._ray.nodes()):  # type: ignore[no-untyped-call]  # Ray types it not
            raise Stopped("teacher: Ray has lost its last node; nothing is lost, run again")

    def _replace(self, number: int, error: Exception) -> list[WireRequest]:
        self._deaths += 1
        if self._deaths > DEATHS_IN_A_ROW * len(self.actors):
            raise Stopped(f"teacher: its workers die one after another ({last_line(str(error))}); nothing is lost")
        self._need_a_node()
        self._ray.kill(self.actors[number])
        self.lost += number in self.ready
        self.ready.discard(number)
        left = list(self.held[number].values())
        self.actors[number], self.held[number] = self._made(), {}
        return left
