"""The students that come after SFT, within the stage `sft`: found unchanged, or trained. Called by `sft.stage`.

Such a student is decided by its own settings, its tasks and the SFT student that it goes on from, whose folder is read
and never written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import RunFolderError
from distill.plugins import external_hash, is_external
from distill.store import (
    file_hash,
    fingerprint,
    read_json,
    read_manifest,
    stage_fingerprint,
    write_json,
    write_manifest,
)
from sft.after.settings import ThenSettings
from sft.settings import SftSettings
from sft.student_settings import StudentSettings
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from sft.processes import Trainings
    from sft.stage import _Stage

# Of `sft`, what a training after SFT reads.
READ = {"prompt", "lora", "max_length", "think_tokens"}
Result = dict[str, Any]


def found(stage: _Stage) -> dict[str, Result | None]:
    """{student: what an earlier run made of the same one, None where it has to be trained}."""
    return {
        name: _unchanged(stage, student, name, then)
        for student in stage.settings.targets
        for name, then in student.after.items()
    }


def futures(
    stage: _Stage, pool: ThreadPoolExecutor, trainings: Trainings, of_sft: Mapping[str, Future[Result]]
) -> dict[str, Future[Result]]:
    """{student: its training}, each of which waits for the SFT student's, which was handed in before it."""
    return {
        name: pool.submit(_train, stage, student, name, then, trainings, of_sft[student.name])
        for student in stage.settings.targets
        if student.name in of_sft
        for name, then in student.after.items()
    }


def _key(stage: _Stage, student: StudentSettings, name: str, then: ThenSettings) -> tuple[Result, Result]:
    """(inputs, settings) that decide whether a student is the same as before."""
    before = read_manifest(stage.out / student.name) or {}
    inputs = {"tasks": stage.data_hashes[name], "sft": [before.get("fingerprint"), before.get("written")]}
    own = {key: external_hash(key, Path()) for key in then.reward if is_external(key)}
    if own:
        inputs["rewards"] = [own[key] for key in sorted(own)]
    if then.teacher:
        inputs["teacher"] = fingerprint([file_hash(path) for path in _files(then)])
    decides = then.decides()
    decides["reward"] = {key.rpartition("/")[2]: weight for key, weight in then.reward.items()}
    shared = stage.settings.model_dump(mode="json", include=READ)
    return inputs, {"then": decides, "target": student.target, "seed": stage.seed, **shared}


def teacher_files(settings: SftSettings) -> list[Path]:
    """The files of all teachers of `on_policy`."""
    return [path for student in settings.targets for then in student.then for path in _files(then)]


def _files(then: ThenSettings) -> list[Path]:
    folder = Path(then.teacher) if then.teacher else None
    return sorted(path for path in folder.glob("*") if path.is_file()) if folder and folder.is_dir() else []


def _unchanged(stage: _Stage, student: StudentSettings, name: str, then: ThenSettings) -> Result | None:
    manifest = read_manifest(stage.out / name)
    if stage.found(student) is None or manifest is None or name not in stage.data_hashes:
        return None
    same = manifest["fingerprint"] == stage_fingerprint("after", *_key(stage, student, name, then))
    return dict(manifest["result"]) if same else None


def _train(
    stage: _Stage,
    student: StudentSettings,
    name: str,
    then: ThenSettings,
    trainings: Trainings,
    of_sft: Future[Result],
) -> Result:
    """Train one student from the SFT student, or from its own newest checkpoint where there is one."""
    of_sft.result()
    if name not in stage.data_hashes:
        raise RunFolderError(f"{stage.dataset}: was made before {name} was named; bring it up to date by `distill run`")
    done = _unchanged(stage, student, name, then)
    if done is not None:
        return done
    folder = stage.out / name
    inputs, kept = _key(stage, student, name, then)
    wanted = stage_fingerprint("after", inputs, kept)
    if (read_json(folder / "job.json") or {}).get("fingerprint") != wanted:
        shutil.rmtree(folder, ignore_errors=True)  # another student's checkpoints
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    job: TrainingJob = {
        "name": name,
        "target": student.target,
        "base": str(stage.out / student.name),
        "examples": str(stage.dataset / name),
        "out": str(folder),
        "dev": "",
        "seed": stage.seed,
        "threads": trainings.threads,
        "settings": stage.settings.model_dump(mode="json", exclude={"targets", "parallel", "assume", "ray"}),
        "then": then.model_dump(mode="json"),
        "fingerprint": wanted,
    }
    write_json(folder / "job.json", job)
    result = trainings.train(folder)
    write_manifest(folder, "after", inputs, kept, result)
    return result
