"""The Ray actors in which workers ask the teacher: started, fed, replaced when they die. Used by `teacher.session`.

What a dead actor had not handed over goes back to the session, and so to the others.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from distill.errors import DistillError, Stopped
from distill.plugins import external_file, is_external
from distill.processes import cores
from teacher.messages import WireRequest, WorkerReport
from teacher.settings import Endpoint, TeacherSettings
from teacher.worker import Worker

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

DEATHS_IN_A_ROW = 5
STARTS, LOOK_S = 3, 5.0
# A Ray of one machine has nobody to replace a node that is only slow: it is given time.
PATIENT = {"health_check_timeout_ms": 60_000, "worker_register_timeout_seconds": 300}


class WorkerActor:
    """What runs inside an actor. Keys travel as SecretStr, which does not print."""

    def __init__(
        self, settings: TeacherSettings, endpoints: list[Endpoint], keys: list[SecretStr], stage: str = "trace"
    ) -> None:
        self._arguments = settings, endpoints, keys, stage
        self._worker: Worker | None = None

    async def exchange(self, requests: list[WireRequest], usd: float, tokens: float) -> WorkerReport:
        """See Worker.exchange."""
        if self._worker is None:
            self._worker = make_worker(*self._arguments)
        return await self._worker.exchange(requests, usd, tokens)


def make_worker(
    settings: TeacherSettings, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr], stage: str = "trace"
) -> Worker:
    """A worker with its share of the run's limits."""
    source = settings.made_source()
    connections = source.connect(endpoints, keys)
    name = settings.source
    own = f"{external_file(name, Path()).name}:{name.rpartition(':')[2]}" if is_external(name) else ""
    return Worker(connections, settings.attempts, source.share(settings.concurrency), stage, own)


def connect(workers: int) -> bool:
    """Join the cluster of RAY_ADDRESS (set inside a Ray job), or start Ray on this machine; whether it was started.

    On a busy machine Ray gives its processes too little time, or two Rays that start together take the same port: it
    is started again, up to `STARTS` times. Raises Stopped when it does not start or cannot be reached.
    """
    import ray

    if ray.is_initialized():
        return False
    before = signal.getsignal(signal.SIGTERM)
    own = not os.environ.get("RAY_ADDRESS")
    starts = STARTS if own else 1
    quietly = partial(ray.init, logging_level=logging.ERROR, log_to_driver=False)
    local = partial(quietly, "local", include_dashboard=False, object_store_memory=200 << 20, _system_config=PATIENT)
    for number in range(1, starts + 1):
        try:
            local(num_cpus=max(workers, cores())) if own else quietly()
            break
        except Exception as error:  # Ray raises a plain Exception when its node is slow to start
            ray.shutdown()
            if number == starts:
                where = os.environ.get("RAY_ADDRESS")
                failed = f"the Ray of RAY_ADDRESS {where} is not reached" if where else "Ray does not start here"
                raise Stopped(f"teacher: {failed} ({_first_line(error)}); nothing is lost, run again") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would end the driver with status 15
    return True


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
            num_cpus=actor.num_cpus,
            num_gpus=needs.num_gpus if actor.num_gpus is None else actor.num_gpus,
            resources=actor.resources or None,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": needs.env} if needs.env else None,
            max_restarts=0,
            max_concurrency=4,
        )
        self._arguments = settings, endpoints, keys, stage
        self.actors: list[ActorHandle[WorkerActor]] = [self._made() for _ in range(settings.workers)]
        self.held: list[dict[str, WireRequest]] = [{} for _ in self.actors]
        self.ready: set[int] = set()  # those that Ray has placed: a pending actor must hold no requests
        self._calls: dict[ObjectRef[WorkerReport], int] = {}
        self._deaths = 0
        self._error: DistillError | None = None
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

    def hand(self, number: int, requests: list[WireRequest], usd: float, tokens: float) -> None:
        """Begin an exchange with an actor; one that is not ready yet must be handed nothing."""
        self.held[number].update((request[0], request) for request in requests)
        self._calls[self.actors[number].exchange.remote(requests, usd, tokens)] = number

    def collect(self, timeout_s: float) -> tuple[list[tuple[int, WorkerReport]], list[WireRequest]]:
        """Reports that have come, with their actors, and the requests that dead actors have left.

        Raises Stopped when actors die one after another without a single report, or Ray's last node is gone.
        """
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
                if not isinstance(error.cause, DistillError):
                    raise  # a bug of ours
                self._error = error.cause
                continue
            except self._ray.exceptions.RayError as error:
                left += self._replace(number, error)
                continue
            self._deaths = 0
            self.ready.add(number)
            for request_id in report.done:
                self.held[number].pop(request_id, None)
            reports.append((number, report))
        if self._error is not None and not reports:  # else at the next call: these answers are journalled first
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
            raise Stopped(f"teacher: its workers die one after another ({_first_line(error)}); nothing is lost")
        self._need_a_node()
        self._ray.kill(self.actors[number])
        self.ready.discard(number)
        left = list(self.held[number].values())
        self.actors[number], self.held[number] = self._made(), {}
        return left


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
