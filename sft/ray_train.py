"""One student trained on several workers of Ray Train: DDP, or FSDP2 where the weights are to be split.

Each worker runs `sft.train.train`; the first one saves, into the run's folder, which every worker must reach (one
machine, or storage that is mounted on all nodes). A worker that is lost is replaced together with the others, and the
training goes on from its newest whole checkpoint, as a killed process does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from distill.disk import disk_fault
from distill.errors import DistillError, InputError, last_line, of_exit_code
from distill.ray_cluster import connect
from distill.store import read_json, write_json
from sft.faults import LESS_MEMORY, is_about_memory, training_fault
from sft.settings import RaySettings
from sft.train import train
from sft.training_job import TrainingJob

EVENTS, RESULT = "events.jsonl", "worker.json"


def train_on_ray(job: TrainingJob) -> dict[str, Any]:
    """`sft.train.train`'s result, made by `ray.workers` workers; their lines are printed as a single process would.

    Joins the cluster of RAY_ADDRESS, else starts Ray on this machine. Raises what the workers raised on purpose, and
    DistillError where Ray gave up.
    """
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = RaySettings.model_validate(job["settings"]["ray"])
    out = Path(job["out"])
    (out / RESULT).unlink(missing_ok=True)
    (out / EVENTS).unlink(missing_ok=True)
    connect(int(settings.workers * settings.cpus_per_worker + 1), "sft")
    gpus = settings.gpus_per_worker
    if gpus is None:
        gpus = float(ray.cluster_resources().get("GPU", 0) > 0)  # type: ignore[no-untyped-call]
    resources = {"CPU": settings.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    trainer = TorchTrainer(
        cast("Callable[[dict[str, Any]], None]", _worker),
        train_loop_config={**job, "events": str(out / EVENTS)},
        torch_config=TorchConfig(backend="nccl" if gpus and torch.cuda.is_available() else "gloo"),
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(
            name="workers",
            storage_path=str((out / "ray").resolve()),
            failure_config=FailureConfig(max_failures=settings.failures),
        ),
    )
    over = threading.Event()
    reader = threading.Thread(target=_follow, args=(out / EVENTS, over), daemon=True, name="events")
    reader.start()
    try:
        trainer.fit()
    except Exception as error:  # Ray wraps whatever a worker died of
        if fault := disk_fault(error, out):
            raise fault from error
        reason = last_line(str(error)) or type(error).__name__
        failed = f"{job['name']}: the workers failed {settings.failures + 1} times ({reason})"
        if is_about_memory(str(error)):
            raise InputError(f"{failed}: the memory ran out; {LESS_MEMORY}") from error
        raise DistillError(failed) from error
    finally:
        over.set()
        reader.join()
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

    first = ray.train.get_context().get_world_rank() == 0
    try:
        result = train(job)
    except Exception as error:
        fault = training_fault(job["name"], error, Path(job["out"]))
        if not isinstance(error, DistillError) and (fault.exit_code == 1 or is_about_memory(str(fault))):
            raise  # may be of one worker alone: Ray ends the others, and tries again
        result = {"error": str(fault), "exit_code": fault.exit_code}
    if first:
        write_json(Path(job["out"]) / RESULT, result)


def _follow(path: Path, over: threading.Event) -> None:
    """Print the lines of the workers' file as they come, until it is over and all are read."""
    done = 0
    while True:
        last = over.wait(0.5)
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            for line in lines[done:]:
                try:
                    json.loads(line)
                except ValueError:
                    break  # half written; the next look has it whole
                print(line, flush=True)
                done += 1
        if last:
            return
