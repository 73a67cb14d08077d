"""Training of all students, each by itself and several at a time where that pays. Called by the stage `sft`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distill.errors import DistillError
from distill.records import LabelledPair, Pair
from distill.store import (
    fingerprint,
    read_json,
    read_manifest,
    read_rows,
    stage_fingerprint,
    write_json,
    write_manifest,
)
from sft.after import stage as after
from sft.examples import DEV, LENGTHS
from sft.placement import on_this_machine, uses_ray
from sft.processes import Notify, TrainingProcesses, Trainings
from sft.settings import SftSettings
from sft.student_settings import StudentSettings
from sft.targets import pair_target
from sft.training_job import TrainingJob

SCORES = "scores.json"  # in a student's folder: what another student gave its pairs
Margins = Callable[[StudentSettings, Sequence[Pair]], list[float | None]]
"""A trained student of the run and pairs in, its log-odds out, None for a pair that it cannot read."""
# What decides how a student is trained, and not which one comes out.
NOT_THE_STUDENTS = {"targets", "parallel", "assume", "ray"}
# What decides those that write nothing, with their own settings.
ALL_STUDENTS = {"scratch", "max_length", "optimizer", "dev", "prompt"}


def train_students(
    settings: SftSettings,
    dataset: Path,
    out: Path,
    seed: int,
    data_hashes: dict[str, str],
    texts: Callable[[], Iterable[str]],
    texts_hash: str,
    notify: Notify,
    base_hash: str = "",
    starts: Mapping[str, Start] | None = None,
    margins: Margins | None = None,
) -> dict[str, Any]:
    """Train every student of the settings into `out`/NAME; returns {"students": {NAME: counts}}.

    `dataset`/NAME holds each student's examples, `data_hashes` their hashes; `texts` yields the training split's text
    (`texts_hash` is its hash), for the tokenizer of `base: scratch`. A student that is done and unchanged is not
    trained again; `base_hash` is that of a local base's files. `starts` are models that students of these names start
    from, in place of `sft.base`. `margins` lets a trained student score pairs, for those that learn from it. Raises
    what a training process raised, once the others have ended.
    """
    stage = _Stage(settings, dataset, out, seed, data_hashes, texts_hash, base_hash, starts or {})
    due = any(stage.found(student) is None for student in settings.targets) or any(
        found is None for found in after.found(stage).values()
    )
    trainings = _trainings(settings, notify, on_ray=due and uses_ray(settings))
    futures: dict[str, Future[dict[str, Any]]] = {}
    with ThreadPoolExecutor(trainings.placement.at_a_time) as pool, trainings:
        if due:
            trainings.warm()
        base = str(_scratch(settings, out, seed, texts_hash, texts)) if settings.base == "scratch" else settings.base
        for student in settings.targets:
            if student.time_of is None and student.scores is None:
                futures[student.name] = pool.submit(stage.train, student, base, trainings, {})
        for student in settings.targets:
            if student.time_of is not None:
                try:
                    like, long = futures[student.target].result(), futures[student.time_of].result()
                except DistillError:
                    continue  # raised below, as its own student's
                steps = max(1, round(like["steps"] * long["seconds"] / like["seconds"]))
                futures[student.name] = pool.submit(stage.train, student, base, trainings, {"max_steps": steps})
        for student in settings.targets:
            if student.scores is not None:
                try:
                    futures[student.scores.student].result()
                except DistillError:
                    continue  # raised below, as its own student's
                try:
                    scores = stage.scores(student, margins) if stage.found(student) is None else {}
                except DistillError:
                    wait(futures.values())
                    raise
                futures[student.name] = pool.submit(stage.train, student, base, trainings, {}, scores)
        futures |= after.futures(stage, pool, trainings, futures)
        wait(futures.values())  # one that fails does not end the others; an interrupt ends all
        results = {name: future.result() for name, future in futures.items()}
    return {"students": {student.name: results[student.name] for student in settings.students}}


def same_students(
    settings: SftSettings,
    seed: int,
    data_hashes: dict[str, str],
    texts_hash: str,
    base_hash: str = "",
    starts: Mapping[str, Start] | None = None,
) -> dict[str, Callable[[Path], bool]]:
    """{student: whether a folder of any run holds that very student}, the untrained one of `base: scratch` among them.

    The one rule of which settings and data decide a student: for training and for linking between runs.
    """
    stage = _Stage(settings, Path(), Path(), seed, data_hashes, texts_hash, base_hash, starts or {})
    rules: dict[str, Callable[[Path], bool]] = {s.name: partial(stage.holds, s) for s in settings.targets}
    if settings.base == "scratch":
        rules["untrained"] = lambda folder: _is_scratch(folder, settings, seed, texts_hash)
    return rules


def _trainings(settings: SftSettings, notify: Notify, on_ray: bool) -> Trainings:
    if not on_ray:
        return TrainingProcesses(on_this_machine(settings), notify)
    from sft.ray_train import RayTrainings

    return RayTrainings(settings, notify)


def _scratch(settings: SftSettings, out: Path, seed: int, texts_hash: str, texts: Callable[[], Iterable[str]]) -> Path:
    """The untrained student that all others start from."""
    folder = out / "untrained"
    if not _is_scratch(folder, settings, seed, texts_hash):
        from sft.student import make_scratch

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make_scratch(settings, texts(), seed, folder)
        write_manifest(folder, "untrained", *_scratch_key(settings, seed, texts_hash), {})
    return folder


def _scratch_key(settings: SftSettings, seed: int, texts_hash: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"texts": texts_hash}, {**settings.scratch.model_dump(), "seed": seed, "prompt": settings.prompt}


def _is_scratch(folder: Path, settings: SftSettings, seed: int, texts_hash: str) -> bool:
    manifest, key = read_manifest(folder), _scratch_key(settings, seed, texts_hash)
    return manifest is not None and manifest["fingerprint"] == stage_fingerprint("untrained", *key)


@dataclass(frozen=True, slots=True)
class Start:
    """A model that a student starts from in place of `sft.base`: its folder, and the hash of its files."""

    folder: Path
    files_hash: str


@dataclass(frozen=True, slots=True)
class _Stage:
    """What all students of one stage share."""

    settings: SftSettings
    dataset: Path
    out: Path
    seed: int
    data_hashes: dict[str, str]
    texts_hash: str
    base_hash: str
    starts: Mapping[str, Start] = field(default_factory=dict)

    def key(self, student: StudentSettings) -> tuple[dict[str, Any], dict[str, Any]]:
        """(inputs, settings) that decide whether a student is the same as before.

        The steps of a student with `time_of` follow the machine's speed: another measurement is not another student.
        """
        inputs = {"examples": self.data_hashes[student.name]}
        writes = pair_target(student.target) is None
        if writes and self.settings.order_by == "trace" and "lengths" in self.data_hashes:
            inputs["lengths"] = self.data_hashes["lengths"]
        if self.settings.dev is not None:
            inputs["dev"] = self.data_hashes[DEV]
        if writes and self.settings.base == "scratch":
            inputs["texts"] = self.texts_hash
        if student.scores is not None:
            source = next(each for each in self.settings.targets if each.name == student.scores.student)
            inputs["scores"] = fingerprint([stage_fingerprint("student", *self.key(source)), self._base_hash(source)])
        if not writes:
            shared = self.settings.model_dump(mode="json", include=ALL_STUDENTS)
            return inputs, {"target": student.target, "seed": self.seed, **shared, **student.own()}
        shared = self.settings.model_dump(mode="json", exclude=NOT_THE_STUDENTS)
        return inputs, {"target": student.target, "seed": self.seed, "time_of": student.time_of, **shared}

    def found(self, student: StudentSettings) -> dict[str, Any] | None:
        """What an earlier run made of the same student."""
        folder = self.out / student.name
        return dict((read_manifest(folder) or {})["result"]) if self.holds(student, folder) else None

    def holds(self, student: StudentSettings, folder: Path) -> bool:
        """Whether a folder holds this very student, trained to its end."""
        manifest = read_manifest(folder)
        if manifest is None or manifest["fingerprint"] != stage_fingerprint("student", *self.key(student)):
            return False
        return self._like(student, read_json(folder / "job.json") or {})

    def _like(self, student: StudentSettings, job: dict[str, Any]) -> bool:
        """Whether a job trains with this seed from this base, which a fingerprint does not say of every student."""
        base_hash = self._base_hash(student)
        return (job.get("seed", self.seed), job.get("base_hash", base_hash)) == (self.seed, base_hash)

    def _base_hash(self, student: StudentSettings) -> str:
        start = self.starts.get(student.name)
        if start is None and pair_target(student.target) is not None:
            return ""
        return start.files_hash if start else self.base_hash

    def scores(self, student: StudentSettings, margins: Margins | None) -> dict[str, float | None]:
        """{pair_id: the log-odds that the student named in `scores` gives}, None where it cannot read the pair."""
        assert student.scores is not None and margins is not None
        source = next(each for each in self.settings.targets if each.name == student.scores.student)
        rows = [
            Pair(row.pair_id, row.query_id, row.doc_id, row.query, row.passage, row.instruction)
            for row in read_rows(self.dataset / student.name, LabelledPair)
        ]
        return dict(zip((row.pair_id for row in rows), margins(source, rows), strict=True))

    def _base(self, student: StudentSettings, base: str) -> str:
        """The folder or hub name that a student starts from, `base` that of those that write; or scratch."""
        if student.name in self.starts:
            return str(self.starts[student.name].folder)
        return base if pair_target(student.target) is None else student.base or "scratch"

    def train(
        self,
        student: StudentSettings,
        base: str,
        trainings: Trainings,
        training: dict[str, Any],
        scores: dict[str, float | None] | None = None,
    ) -> dict[str, Any]:
        """Train one student by itself, from its newest checkpoint where there is one, on another's `scores`."""
        done = self.found(student)
        if done is not None:
            return done
        folder = self.out / student.name
        inputs, kept = self.key(student)
        fingerprint = stage_fingerprint("student", inputs, kept)
        before = read_json(folder / "job.json")
        if before is None or before.get("fingerprint") != fingerprint or not self._like(student, before):
            shutil.rmtree(folder, ignore_errors=True)  # another student's checkpoints
        elif student.time_of is not None:
            training = before["training"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        settings = self.settings.model_copy(update={"ray": trainings.placement.ray})
        job: TrainingJob = {
            "name": student.name,
            "target": student.target,
            "base": self._base(student, base),
            "examples": str(self.dataset / student.name),
            "out": str(folder),
            "seed": self.seed,
            "base_hash": self._base_hash(student),
            "threads": trainings.threads,
            "settings": settings.model_dump(mode="json", exclude={"targets", "parallel", "assume"}),
            "student": student.own(),
            "dev": str(self.dataset / DEV),
            "lengths": str(self.dataset / LENGTHS),
            "training": training,
            "fingerprint": fingerprint,
        }
        if scores is not None:
            job["scores"] = str(folder / SCORES)
            write_json(folder / SCORES, scores)
        write_json(folder / "job.json", job)
        result = trainings.train(folder)
        write_manifest(folder, "student", inputs, kept, result)
        return result
