"""The run's scorer: its journal in the run folder, its settings, its progress. Used by evaluate, modes and rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.pipeline.run import Run
from distill.records import Pair
from distill.rerank.settings import ScoringSettings
from distill.results import Counts

if TYPE_CHECKING:
    from distill.rerank.jobs import Job
    from distill.rerank.progress import Progress
    from distill.rerank.scorer import Scorer

JOURNAL = "journal.jsonl"  # in evaluation/: judgements of every set, in the order in which they were made


def scorer(run: Run) -> Scorer:
    """The scorer of the evaluation; whoever has it sets `notify`, and closes it."""
    from distill.rerank.journal import Journal
    from distill.rerank.scorer import Scorer

    run.evaluation.mkdir(parents=True, exist_ok=True)
    return Scorer(Journal(run.evaluation / JOURNAL))


def job_for(run: Run, name: str, model: str, mode: str, pairs: Sequence[Pair], prompt: str | None = None) -> Job:
    """Let a student (a folder, or a hub name) judge pairs as the configuration has it.

    A folder is known by the SHA-256 of its files, which are read once (`Run.file_hashes`); margins are raw except in
    mode adaptive, which needs the student's calibration.
    """
    from distill.rerank import jobs
    from distill.rerank.calibration import FILE

    evaluation = run.config.evaluation
    student = jobs.Student(
        model,
        mode,
        settings(run),
        max_new_tokens=evaluation.max_new_tokens,
        prompt=prompt,
        calibration=str(Path(model) / FILE) if mode == "adaptive" else None,
    )
    return jobs.job_of(name, student, pairs, jobs.weights_by_hash(model, run.file_hashes(jobs.student_files(model))))


def shown(run: Run, part: str, stage: str = "evaluation") -> Callable[[Progress], None]:
    """Where the scorer's progress goes: the run's log and the terminal. `part` is the set that is judged."""

    def show(progress: Progress) -> None:
        run.log({"stage": stage, "set": part, **progress.event()})
        if run.bars.shown and not progress.warning and progress.done < progress.of:
            run.bars.bar(f"{part}, {progress.system}", progress.done, progress.of, progress.facts())
        else:
            run.say(f"  {part}, {progress.system}: {progress.text()}")

    return show


def settings(run: Run) -> ScoringSettings:
    """The configuration's `scoring`, with the evaluation's batch where it names none."""
    given = run.config.scoring
    return given if given.batch else given.model_copy(update={"batch": run.config.evaluation.batch})


def deciding(run: Run) -> Counts:
    """What of `scoring` can change a score, {} at the defaults: for the fingerprint of the evaluation."""
    fields = {"backend", "dtype", "loops", "base_url", "engine"}
    changed = run.config.scoring.model_dump(mode="json", include=fields, exclude_defaults=True)
    return {"scoring": changed} if changed else {}
