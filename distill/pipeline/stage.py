"""A stage: when it has to be made and why, and how stages are made in their order. Used by the stages and the cli."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill import store
from distill.errors import RunFolderError
from distill.pipeline.run import Run
from distill.results import Counts, Json

WRITTEN = ("rows", "data_hash", "files", "hashes")  # of a stage's result, what belongs to its manifest alone


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the pipeline.

    `folder` holds its rows and its manifest, `needs` are the folders it reads; `settings` and `inputs` decide whether
    it has to be made again; `make` does the work and returns counts, among them the rows' `data_hash`.
    """

    name: str
    folder: str
    needs: tuple[str, ...]
    settings: Callable[[Run], Json]
    inputs: Callable[[Run], Counts]
    make: Callable[[Run], Counts]

    def done(self, run: Run) -> bool:
        """Whether the folder holds what these settings and inputs make."""
        manifest = store.read_manifest(run.path(self.folder))
        return manifest is not None and manifest["fingerprint"] == self.fingerprint(run)

    def fingerprint(self, run: Run) -> str:
        """What its manifest must say for it not to be made again."""
        return store.stage_fingerprint(self.name, self.inputs(run), self.settings(run))

    def changes(self, run: Run) -> list[str]:
        """The inputs and settings, by their key paths, that differ from those that the folder was made with."""
        manifest = store.read_manifest(run.path(self.folder))
        if manifest is None:
            return []
        return [
            *_differences("input", manifest.get("inputs"), _plain(self.inputs(run))),
            *_differences("setting", manifest.get("settings"), _plain(self.settings(run))),
        ] or ["the form of the rows"]


def run_stages(run: Run, stages: Sequence[Stage], names: Sequence[str]) -> None:
    """Bring the named stages up to date, in their order; redraw the report when anything was made, or failed.

    Raises RunFolderError where what a stage reads is not there, and whatever the stages raise.
    """
    from distill.pipeline.report import write_report

    made = False
    try:
        for stage in stages:
            if stage.name not in names:
                continue
            if stage.done(run) and not run.retry_failed:
                run.say(f"{stage.name}: unchanged")
                continue
            for need in stage.needs:
                if store.read_manifest(run.path(need)) is None:
                    raise RunFolderError(
                        f"{run.path(need)}: not made yet, and {stage.name} reads it; `distill run` makes all stages"
                    )
            made = True
            make(run, stage)
    finally:
        if "report" in names and (made or tuple(names) == ("report",) or not (run.folder / "report.html").exists()):
            write_report(run)


def make(run: Run, stage: Stage) -> None:
    """Make one stage, say why where it was made before, and write its manifest last."""
    changes = stage.changes(run)
    if changes:
        shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
        run.say(f"{stage.name}: made again, since this has changed: {shown}")
    (run.path(stage.folder) / store.MANIFEST).unlink(missing_ok=True)
    with run.stage(stage.name) as counts:
        result = stage.make(run)
        counts.update({key: value for key, value in result.items() if key not in WRITTEN})
    store.write_manifest(run.path(stage.folder), stage.name, dict(stage.inputs(run)), stage.settings(run), dict(result))
    if run.mirror:
        run.mirror.push()


def plan(run: Run, stages: Sequence[Stage]) -> list[tuple[str, bool]]:
    """(stage, whether it has to be made) of each; what follows one that has to be made may have to be, too."""
    planned, due = [], False
    for stage in stages:
        due = due or not stage.done(run)
        planned.append((stage.name, due))
    return planned


def _plain(value: Json) -> Json:
    """The value as a manifest gives it back."""
    import json

    plain: Json = json.loads(json.dumps(value, default=str))
    return plain


def _differences(kind: str, before: Json, now: Json, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [
            text
            for key in keys
            for text in _differences(kind, before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == now else [f"{kind} {path}".rstrip()]
