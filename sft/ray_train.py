"""One student trained on several workers of Ray Train: DDP, or FSDP2 where the weights are to be split.

Each worker runs `sft.training_job.train`; the first one saves, into the run's folder where every worker sees it (one
machine, or storage that is mounted on all nodes), else into a folder of its node, of which `sft.node_folder` copies all
that counts to the driver. A worker that is lost is replaced together with the others, and the training goes on from its
newest whole checkpoint, as a killed process does.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from distill.disk import disk_fault
from distill.driver_files import as_seen, own_path
from distill.driver_filesystem import for_pyarrow
from distill.errors import DistillError, InputError, last_line, of_exit_code
from distill.ray_cluster import connect, nodes
from distill.store import read_json, write_json
from distill.tables import counted
from sft.faults import LESS_MEMORY, is_about_memory, training_fault
from sft.node_folder import READ, NodeFolder
from sft.placement import on_nodes
from sft.processes import Notify
from sft.settings import RaySettings, SftSettings
from sft.together import of_all_workers
from sft.training_job import TrainingJob, train

EVENTS, RESULT = "events.jsonl", "worker.json"


class RayTrainings:
    """Trainings by Ray, to which this process is connected, or is here, for as long as they last."""

    def __init__(self, settings: SftSettings, notify: Notify) -> None:
        given = settings.ray or RaySettings(workers=1)
        self._started = connect(int(given.workers * given.cpus_per_worker + 1), "sft")
        self._notify = notify
        self.placement = on_nodes(settings, nodes())
        assert self.placement.ray is not None
        self.threads = max(1, int(self.placement.ray.cpus_per_worker))

    def __enter__(self) -> RayTrainings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        if self._started or error is not None:
            ray.shutdown()  # which ends the workers that still train

    def warm(self) -> None:
        """Ray starts its workers where they are needed."""

    def train(self, folder: Path) -> dict[str, Any]:
        """See `Trainings.train`. Raises what the workers raised on purpose, and DistillError where Ray gave up."""
        job: TrainingJob = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        return train_on_ray(job, self._notify)


def train_on_ray(job: TrainingJob, notify: Notify = lambda event: None) -> dict[str, Any]:
    """`sft.training_job.train`'s result, made by `ray.workers` workers; their lines go to `notify` as they come.

    Joins the cluster of RAY_ADDRESS, or starts Ray here and ends it, where this process is not connected. Raises what
    the workers raised on purpose, and DistillError where Ray gave up.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    settings = RaySettings.model_validate(job["settings"]["ray"])
    out = Path(job["out"])
    (out / RESULT).unlink(missing_ok=True)
    (out / EVENTS).unlink(missing_ok=True)
    started = connect(int(settings.workers * settings.cpus_per_worker + 1), "sft")
    gpus = settings.gpus_per_worker
    if gpus is None:
        gpus = float(any(node.gpus for node in nodes()))
    resources = {"CPU": settings.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    sent: dict[str, Any] = {**job, "out": as_seen(out), "events": as_seen(out / EVENTS)}
    sent |= {key: as_seen(sent[key]) for key in READ if os.path.exists(sent.get(key, ""))}
    trainer = TorchTrainer(
        cast("Callable[[dict[str, Any]], None]", _worker),
        train_loop_config=sent,
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(
            name="workers",
            storage_path=str((out / "ray").resolve()),
            storage_filesystem=for_pyarrow(),
            failure_config=FailureConfig(max_failures=settings.failures),
        ),
    )
    over = threading.Event()
    reader = threading.Thread(target=_follow, args=(out / EVENTS, over, notify), daemon=True, name="events")
    reader.start()
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps whatever a worker died of
        if fault := disk_fault(error, out):
            raise fault from error
        reason = last_line(str(error)) or type(error).__name__
        failed = f"{job['name']}: the workers failed {counted(settings.failures + 1, 'time')} ({reason})"
        if is_about_memory(str(error)):
            raise InputError(f"{failed}: the memory ran out; {LESS_MEMORY}") from error
        raise DistillError(failed) from error
    finally:
        over.set()
        reader.join()
        if started:
            ray.shutdown()
    result = read_json(out / RESULT)
    if result is None:
        raise DistillError(f"{job['name']}: the workers ended without a result; see {out / 'ray'}")
    if "error" in result:
        raise of_exit_code(result["exit_code"], result["error"])
    return dict(result)


def _worker(job: TrainingJob) -> None:
    """What each worker does; an error meant for the user is a result, not a failure to be tried again."""
    import ray.train

    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    given, folder = job, None
    if own_path(job["out"]) is not None:
        dev = bool(job["settings"].get("dev"))  # whose best checkpoint every node reads in the end
        folder = NodeFolder(job["out"], _is_first_of_node(), first, whole=dev)
    try:
        if folder is not None:
            given = folder.begin(job)
        result = train(given, folder.keep if folder else None)
        if folder is not None:
            folder.hand_over()
    except Exception as error:
        fault = training_fault(job["name"], error, Path(given["out"]))
        if not isinstance(error, DistillError) and (fault.exit_code == 1 or is_about_memory(str(fault))):
            raise  # may be of one worker alone: Ray ends the others, and tries again
        result = {"error": str(fault), "exit_code": fault.exit_code}
    if first:
        write_json(f"{job['out']}/{RESULT}", result)


def _is_first_of_node() -> bool:
    """Whether this worker is the first one on its node. Ray's local rank goes by address, which nodes may share."""
    import ray
    import ray.train

    node = ray.get_runtime_context().get_node_id()
    rank: int = ray.train.get_context().get_world_rank()
    return of_all_workers(node).index(node) == rank


def _follow(path: Path, over: threading.Event, notify: Notify) -> None:
    """Hand on the lines of the workers' file as they come, until it is over and all are read."""
    read = 0
    while True:
        last = over.wait(0.5)
        if path.exists():
            with open(path, "rb") as lines:
                lines.seek(read)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break  # half written; the next look has it whole
                    notify(json.loads(line))
                    read += len(line)
        if last:
            return
