"""The stage `sft`: the students are trained. Called by `distill.pipeline.stages`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.pipeline import refresh, scoring
from distill.pipeline.dataset import sft_seed
from distill.pipeline.run import Run, dump
from distill.pipeline.sources import base_of, sft_of
from distill.pipeline.stage import Stage
from distill.plugins import external_files
from distill.records import Example, LabelledPair, Pair
from distill.results import Counts, Json
from sft.after.stage import teacher_files
from sft.student_settings import StudentSettings
from sft.targets import pair_target, target_of

if TYPE_CHECKING:
    from sft.stage import Start


SCORES = "scores.jsonl"  # in students/: what students gave pairs that others learn from


def _settings(run: Run) -> Json:
    return {**dump(run.config.sft, exclude={"parallel", "assume", "ray"}), "seed": sft_seed(run)}


def _inputs(run: Run) -> Counts:
    base = _files_hash(run, base_of(run))
    starts = {name: start.files_hash for name, start in _starts(run).items()}
    found: dict[str, Json] = {"dataset": run.data_hash("dataset"), **({"base": base} if base else {})}
    after = run.file_hashes([*external_files(run.config.sft.rewards, Path()), *teacher_files(run.config.sft)])
    return {**found, **({"starts": starts} if starts else {}), **after}


def _starts(run: Run) -> Mapping[str, Start]:
    """{student: what it starts from in place of `sft.base`}: a local base of its own, or an earlier run's student."""
    from sft.stage import Start

    own = {}
    for student in run.config.sft.targets:
        folder = run.base / student.base if student.base else None
        if folder is not None and folder.is_dir():
            own[student.name] = Start(folder, _files_hash(run, str(folder)))
    return {**own, **refresh.starts(run)}


def _files_hash(run: Run, base: str) -> str:
    """The hash of a local base's files, "" for a name on a hub."""
    folder = Path(base)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return store.fingerprint(sorted(run.file_hashes(files).items())) if files else ""


def same_students(run: Run) -> dict[str, Callable[[Path], bool]]:
    """{student: whether a folder of any run holds the very student that this run would train}."""
    from sft import stage

    manifest = store.read_manifest(run.dataset)
    if manifest is None:
        return {}
    hashes = manifest["result"]["hashes"]
    return stage.same_students(
        sft_of(run), sft_seed(run), hashes, run.data_hash("kept"), _files_hash(run, base_of(run)), _starts(run)
    )


def _make(run: Run) -> Counts:
    from sft.stage import train_students

    def texts() -> Iterator[str]:
        writing = [student for student in run.config.sft.targets if pair_target(student.target) is None]
        for student in writing:
            for row in store.read_rows(run.dataset / student.name, Example):
                yield row.prompt + row.completion
        for student in () if writing else run.config.sft.targets:
            for pair in store.read_rows(run.dataset / student.name, LabelledPair):
                yield f"{pair.query} {pair.passage}"

    manifest = store.read_manifest(run.dataset) or {}
    return train_students(
        sft_of(run),
        run.dataset,
        run.students,
        sft_seed(run),
        manifest["result"]["hashes"],
        texts,
        run.data_hash("kept"),
        run.log,
        _files_hash(run, base_of(run)),
        _starts(run),
        partial(_margins, run),
    )


def _margins(run: Run, student: StudentSettings, pairs: Sequence[Pair]) -> list[float | None]:
    """A trained student's log-odds of pairs to train another on; what was judged before is in the journal."""
    from distill.rerank.journal import Journal
    from distill.rerank.scorer import Scorer

    mode = target_of(student.target).mode
    job = scoring.job_for(run, student.name, str(run.students / student.name), mode, pairs)
    with Scorer(
        Journal(run.students / SCORES, reasoning=False), scoring.shown(run, "pairs to train on", "sft")
    ) as scorer:
        (judged,) = scorer.score([replace(job, part=True)])
    return [None if judgement is None else judgement.margin for judgement in judged.judgements]


STAGE = Stage("sft", "students", ("dataset",), _settings, _inputs, _make)
