"""Ablations: every variant that `ablate` names is made, and compared in one table. Called by `distill.cli`.

A variant is a run of its own in `ablation/NAME/`, but nothing is done twice: it shares the run's journal, so what the
teacher has been asked is not asked again; a stage that another variant has made from the same inputs by the same
settings is linked, not made; so is each student. Killed, the same command goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distill import store
from distill.pipeline import ablation_table
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.sft import same_students
from distill.pipeline.stage import Stage, run_stages
from distill.pipeline.variants import configured, variants

WITH = {"kept": ("rejected", "changed", "verdicts")}  # folders that a stage writes with its own
NOT_LINKED = {"journal", ".journal"}  # what stays with the run that grows it


def run_variants(run: Run, stages_of: Callable[[RunConfig], Sequence[Stage]], overrides: Sequence[str]) -> None:
    """Bring every variant up to date, and write ablation/: the table in Markdown and LaTeX, ablation.json, the curves.

    `stages_of` gives a configuration's stages. The run itself is done; raises whatever stages raise.
    """
    planned = variants(run.config)
    if not planned:
        return
    runs = [(variant, configured(run, variant, overrides)) for variant in planned]  # all checked before one is run
    finished_runs = [run]
    linked: dict[str, list[str]] = {}
    for number, (variant, variant_run) in enumerate(runs, 1):
        run.say(f"ablation {number}/{len(runs)}: {variant.label}")
        variant_run.folder.mkdir(parents=True, exist_ok=True)
        variant_run.write_config()
        linked[variant.name] = store.read_json(variant_run.folder / "linked.json") or []
        for stage in stages_of(variant_run.config):
            reused = reuse_stage(variant_run, stage, finished_runs)
            if reused:
                linked[variant.name] = sorted({*linked[variant.name], *reused})
                store.write_json(variant_run.folder / "linked.json", linked[variant.name])
            run_stages(variant_run, (stage,), (stage.name,))
        finished_runs.append(variant_run)
    if ablation_table.stale(run, runs):
        ablation_table.write(run, runs, linked)
        run.say(f"ablation: {run.ablation / 'table.md'}")


def reuse_stage(run: Run, stage: Stage, finished_runs: Sequence[Run]) -> list[str]:
    """Link the stage's folder from a run that has made the very same, else students that fit; returns what was."""
    if stage.done(run):
        return []
    wanted = stage.fingerprint(run)
    for donor in finished_runs:
        manifest = store.read_manifest(donor.path(stage.folder))
        if manifest is not None and manifest["fingerprint"] == wanted:
            for folder in (*WITH.get(stage.folder, ()), stage.folder):
                _link(donor.path(folder), run.path(folder))
            _copy_counts(donor, run, stage)
            return [stage.name]
    return list(_link_students(run, finished_runs)) if stage.name == "sft" else []


def _link_students(run: Run, finished_runs: Sequence[Run]) -> Iterator[str]:
    """Link each student that another run has trained from the same data by the same settings."""
    for name, accepts in same_students(run).items():
        if store.read_manifest(run.students / name) is not None:
            continue
        folders = (folder for donor in finished_runs for folder in sorted(donor.students.glob("*/")))
        twin = next((folder for folder in folders if accepts(folder)), None)
        if twin is not None:
            _link(twin, run.students / name)
            yield f"sft.{name}"


def _copy_counts(donor: Run, run: Run, stage: Stage) -> None:
    """What metrics.json says of a linked stage."""
    theirs, mine = donor.metrics(), run.metrics()
    if stage.name in theirs.stages:
        mine.stages[stage.name] = theirs.stages[stage.name]
    if stage.name == "evaluate":
        mine.evaluation, mine.intervals = theirs.evaluation, theirs.intervals
    run.write_metrics(mine)


def _link(source: Path, target: Path) -> None:
    """The files of a folder under another name, without a copy where the file system can; the manifest last."""
    if not source.is_dir():
        return
    store.clear(target)
    target.mkdir(parents=True)
    files = [
        p for p in sorted(source.rglob("*")) if p.is_file() and not set(p.relative_to(source).parts) & {*NOT_LINKED}
    ]
    for path in sorted(files, key=lambda p: (p == source / store.MANIFEST, p)):
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError:
            shutil.copy2(path, to)
