"""The SFT stage: one process a student, side by side on a CPU, one after another on a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.processes import cores
from distill.store import read_json, read_manifest, stage_fingerprint, write_json, write_manifest
from sft.processes import Notify, TrainingProcesses
from sft.settings import SftSettings, StudentSettings

LENGTHS = "lengths.json"  # {pair_id: characters of prompt and trace}, by which all targets order their rows
DEV = "dev"  # the folder of held-out pairs beside the students' examples
# What decides how a student is trained, and not which one comes out.
NOT_THE_STUDENTS = {"targets", "parallel", "assume", "ray"}


def train_students(
    settings: SftSettings,
    dataset: Path,
    out: Path,
    seed: int,
    data_hashes: dict[str, str],
    texts: Callable[[], Iterable[str]],
    texts_hash: str,
    notify: Notify,
) -> dict[str, Any]:
    """Train every student of the settings into `out`/NAME; returns {"students": {NAME: counts}}.

    `dataset`/NAME holds each student's examples, `data_hashes` their hashes; `texts` yields the training split's text
    (`texts_hash` is its hash), for the tokenizer of a base from nothing. A student that is done and unchanged is not
    trained again. Raises what a training process raised, once the others have ended.
    """
    side_by_side = settings.parallel or (1 if _gpu() else min(cores(), len(settings.targets)))
    stage = _Stage(settings, dataset, out, seed, max(1, cores() // side_by_side), data_hashes, texts_hash)
    futures: dict[str, Future[dict[str, Any]]] = {}
    with ThreadPoolExecutor(side_by_side) as pool, TrainingProcesses(stage.threads, notify) as crew:
        if any(stage.found(student) is None for student in settings.targets):
            crew.warm(min(side_by_side, len(settings.targets)))
        base = str(_scratch(settings, out, seed, texts_hash, texts)) if settings.base == "scratch" else settings.base
        for student in settings.targets:
            if student.time_of is None:
                futures[student.name] = pool.submit(stage.train, student, base, crew, {})
        for student in settings.targets:
            if student.time_of is not None:
                try:
                    like, long = futures[student.target].result(), futures[student.time_of].result()
                except DistillError:
                    continue  # raised below, as its own student's
                steps = max(1, round(like["steps"] * long["seconds"] / like["seconds"]))
                futures[student.name] = pool.submit(stage.train, student, base, crew, {"max_steps": steps})
        results = {name: future.result() for name, future in futures.items()}
    return {"students": {student.name: results[student.name] for student in settings.targets}}


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _scratch(settings: SftSettings, out: Path, seed: int, texts_hash: str, texts: Callable[[], Iterable[str]]) -> Path:
    """The untrained student that all others start from."""
    folder = out / "untrained"
    shape = {**settings.scratch.model_dump(), "seed": seed, "prompt": settings.prompt}
    inputs = {"texts": texts_hash}
    manifest = read_manifest(folder)
    if manifest is None or manifest["fingerprint"] != stage_fingerprint("untrained", inputs, shape):
        from sft.student import make_scratch

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_scratch(settings, texts(), seed, folder)
        write_manifest(folder, "untrained", inputs, shape, {})
    return folder


@dataclass(frozen=True, slots=True)
class _Stage:
    """What all students of one stage share."""

    settings: SftSettings
    dataset: Path
    out: Path
    seed: int
    threads: int
    data_hashes: dict[str, str]
    texts_hash: str

    def key(self, student: StudentSettings) -> tuple[dict[str, Any], dict[str, Any]]:
        """(inputs, settings) that decide whether a student is the same as before.

        The steps of a student with `time_of` follow the machine's speed: another measurement is not another student.
        """
        inputs = {"examples": self.data_hashes[student.name]}
        if self.settings.order_by == "trace" and "lengths" in self.data_hashes:
            inputs["lengths"] = self.data_hashes["lengths"]
        if self.settings.dev is not None:
            inputs["dev"] = self.data_hashes[DEV]
        if self.settings.base == "scratch":
            inputs["texts"] = self.texts_hash
        shared = self.settings.model_dump(mode="json", exclude=NOT_THE_STUDENTS)
        return inputs, {"target": student.target, "seed": self.seed, "time_of": student.time_of, **shared}

    def found(self, student: StudentSettings) -> dict[str, Any] | None:
        """What an earlier run made of the same student."""
        manifest = read_manifest(self.out / student.name)
        if manifest is None or manifest["fingerprint"] != stage_fingerprint("student", *self.key(student)):
            return None
        return dict(manifest["result"])

    def train(
        self, student: StudentSettings, base: str, crew: TrainingProcesses, training: dict[str, Any]
    ) -> dict[str, Any]:
        """Train one student in a process of its own, from its newest checkpoint where there is one."""
        done = self.found(student)
        if done is not None:
            return done
        folder = self.out / student.name
        inputs, kept = self.key(student)
        fingerprint = stage_fingerprint("student", inputs, kept)
        before = read_json(folder / "job.json")
        if before is None or before.get("fingerprint") != fingerprint:
            shutil.rmtree(folder, ignore_errors=True)  # another student's checkpoints
        elif student.time_of is not None:
            training = before["training"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        job = {
            "name": student.name,
            "target": student.target,
            "base": base,
            "examples": str(self.dataset / student.name),
            "out": str(folder),
            "seed": self.seed,
            "threads": self.threads,
            "settings": self.settings.model_dump(mode="json", exclude={"targets", "parallel", "assume"}),
            "dev": str(self.dataset / DEV),
            "lengths": str(self.dataset / LENGTHS),
            "training": training,
            "fingerprint": fingerprint,
        }
        write_json(folder / "job.json", job)
        result = crew.train(folder)
        write_manifest(folder, "student", inputs, kept, result)
        return result
