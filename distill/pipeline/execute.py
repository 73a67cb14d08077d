"""A run from its configuration's file, and the stages of it that are brought up to date. Called by cli and api."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from distill import config as configuration
from distill import store
from distill.commands import writes_to
from distill.errors import RunFolderError
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, plan, run_stages
from distill.pipeline.stages import stages_of
from distill.ray_cluster import on_cluster


def configured(config: Path, overrides: Sequence[str], out: Path | str | None, quiet: bool = False) -> Run:
    """The run of a configuration's file, the overrides, and a folder (default: runs/NAME, or of a run's own
    config.yaml the folder that it lies in) or, as text, a URL.

    Raises ConfigError for what cannot be right.
    """
    settings = configuration.load(RunConfig, config, overrides)
    if isinstance(out, str):
        run = _on_url(settings, out, config, quiet)
        run.overrides = tuple(overrides)
        return run
    folder = out or (config.parent if configuration.is_of_run(config) else Path("runs") / settings.name)
    run = Run(settings, writes_to(folder.absolute() if on_cluster() else folder), config, quiet)
    run.overrides = tuple(overrides)
    return run


def _on_url(settings: RunConfig, url: str, config: Path, quiet: bool) -> Run:
    """The run at a URL, with what is finished there taken up into its folder on this machine."""
    from distill.pipeline.mirror import Mirror

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    mirror = Mirror(url, say)
    run = Run(mirror.with_journal(settings), writes_to(mirror.folder), config, quiet)
    run.mirror = mirror
    mirror.look()
    return run


def refreshing(since: Path | str) -> str:
    """The override by which a run refreshes another, in a folder or, as text, at a URL, which is fetched.

    Raises ConfigError where there is no run at the URL.
    """
    from distill.pipeline.mirror import fetched

    folder = fetched(since) if isinstance(since, str) else since.absolute()
    return f"refresh.since={json.dumps(str(folder))}"


def checked_stages(run: Run, name: str, overrides: Sequence[str]) -> tuple[Stage, ...]:
    """All stages of the run. `name` is one of them, report, or run for all.

    Raises ConfigError for a variant of `ablate` that is wrong, RunFolderError where the folder is not this run's or
    there is nothing to report.
    """
    from distill.pipeline.variants import configured as variant_run
    from distill.pipeline.variants import variants

    for variant in variants(run.config):
        variant_run(run, variant, overrides)
    stages = stages_of(run.config)
    run.claim()
    if name == "report" and not any((run.path(one.folder) / store.MANIFEST).exists() for one in stages):
        raise RunFolderError(f"{run.folder}: no stage is done, so there is nothing to report; `distill run` makes them")
    return stages


def execute(run: Run, stages: Sequence[Stage], name: str, overrides: Sequence[str], retry_failed: bool = False) -> None:
    """Bring a stage, or with `name` run all of them, up to date; `stages` are those that `checked_stages` gave."""
    from distill.pipeline import cluster
    from distill.pipeline.ablation import run_variants
    from distill.pipeline.check import check

    names = (*(one.name for one in stages), "report") if name == "run" else (name,)
    todo = check(run, lambda: {stage for stage, due in plan(run, stages) if (due or retry_failed) and stage in names})
    run.retry_failed = retry_failed
    with run.held():
        run.claim()
        run.write_config()
        cluster.join(run, todo)
        if run.config.ablate and name == "run":
            run_stages(run, stages, tuple(one.name for one in stages))
            run_variants(run, stages_of, overrides)
            names = ("report",)
        run_stages(run, stages, names)
