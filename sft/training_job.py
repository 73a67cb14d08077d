"""What a training process is given to do, `job.json` in a student's folder: `sft.stage` makes it, `train` does it.

A dictionary, since it goes from process to process as JSON.
"""

from __future__ import annotations

import importlib
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from distill.answers import JsonObject
from sft.targets import target_of


class TrainingJob(TypedDict):
    """One student to train: its name and target, the base, the folders of its rows and of what comes out.

    `student` are its own settings (`StudentSettings`), where its target has any.

    `dev` is the folder of the held-out pairs, `lengths` the file of the pairs' lengths, `scores` that of another
    student's log-odds, `settings` are those of `sft`,
    `training` is what goes on top of `sft.training`, and `events` the file that Ray's workers write their lines to.
    A job with `then` trains after SFT (`sft.after.train`): its base is the SFT student, its rows are tasks.
    """

    name: str
    target: str
    base: str
    examples: str
    out: str
    dev: str
    seed: int
    threads: int
    settings: JsonObject
    student: NotRequired[dict[str, Any]]
    base_hash: NotRequired[str]
    lengths: NotRequired[str]
    scores: NotRequired[str]
    training: NotRequired[dict[str, Any]]
    fingerprint: NotRequired[str]
    events: NotRequired[str]
    then: NotRequired[JsonObject]


def train(job: TrainingJob, keep: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Train the job's student by the `train` of its target's module; returns what goes into metrics.json.

    `keep` is given each checkpoint once it is whole. Raises as that `train` does.
    """
    if "then" in job:
        from sft.after.train import train_after

        result: dict[str, Any] = train_after(job)
    else:
        result = importlib.import_module(target_of(job["target"]).trainer).train(job, keep)
    return {**result, "peak_gib": round(peak_gib(), 2)}


def peak_gib() -> float:
    """GiB that this process had at its peak: of the GPU's memory where it has a GPU, else of the machine's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"^VmHWM:\s+(\d+)", status.read_text(), re.MULTILINE)):
        return int(peak[1]) / 2**20  # getrusage's would begin, on Linux, with that of the process that started this one
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)
