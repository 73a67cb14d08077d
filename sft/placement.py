"""Where students are trained: in processes of this machine, or by Ray Train. Used by stage, estimates and dry run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distill.processes import cores
from distill.ray_cluster import Node, on_cluster
from distill.tables import counted
from sft.settings import RaySettings, SftSettings


@dataclass(frozen=True, slots=True)
class Placement:
    """How many students train at a time, and each one's workers; `ray` is None in processes of this machine."""

    at_a_time: int
    ray: RaySettings | None = None
    lacking: str = ""

    def text(self) -> str:
        """Where the students train, for a person."""
        students = f"{counted(self.at_a_time, 'student')} at a time"
        if self.ray is None:
            return f"{students} in processes of this machine"
        gpus = f" and {counted(self.ray.gpus_per_worker, 'GPU')}" if self.ray.gpus_per_worker else ""
        each = f"{counted(self.ray.cpus_per_worker, 'CPU')}{gpus}"
        return f"{students}, each on {counted(self.ray.workers, 'Ray Train worker')} of {each}{self.lacking}"


def uses_ray(settings: SftSettings) -> bool:
    """Whether students are trained by Ray: where the settings say so, and always on a cluster."""
    return settings.ray is not None or on_cluster()


def on_this_machine(settings: SftSettings) -> Placement:
    """Students in processes: one at a time on a GPU, as many as there are cores on a CPU."""
    most = max(len(settings.targets), len(settings.students) - len(settings.targets))  # the others come after these
    return Placement(min(settings.parallel or (1 if _gpu() else cores()), most))


def on_nodes(settings: SftSettings, there: Sequence[Node]) -> Placement:
    """Where students train on these nodes: a GPU each where there are any, else a share of the CPUs.

    One worker a student, where `sft.ray` names no other number: more change the batch, and so the student.
    """
    students, given = len(settings.targets), settings.ray or RaySettings(workers=1)
    gpus = given.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in there) else 0.0
    able = [node for node in there if (node.gpus if gpus else node.cpus)]
    cpus = given.cpus_per_worker
    if not gpus and "cpus_per_worker" not in given.model_fields_set and able:
        a_node = math.ceil(min(settings.parallel or students, students) * given.workers / len(able))
        cpus = max(1, min(node.cpus for node in able) // a_node)
    ray = given.model_copy(update={"gpus_per_worker": gpus, "cpus_per_worker": float(cpus)})
    workers = sum(_fits(node, ray) for node in able)
    fits = workers // ray.workers
    lacking = "" if fits else f"; the nodes of now hold {workers} of these workers: it waits for more"
    return Placement(max(1, min(settings.parallel or students, students, fits)), ray, lacking)


def _fits(node: Node, ray: RaySettings) -> int:
    """How many workers a node holds."""
    by_cpu = math.floor(node.cpus / ray.cpus_per_worker)
    return min(by_cpu, math.floor(node.gpus / ray.gpus_per_worker)) if ray.gpus_per_worker else by_cpu


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
