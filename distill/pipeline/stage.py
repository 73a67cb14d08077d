"""A stage of the pipeline: when it has to run, and how the stages are run in their order. Called by `distill.cli`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distill import store
from distill.errors import RunFolderError
from distill.pipeline.run import Run

WRITTEN = ("rows", "data_hash", "files", "hashes")  # of a stage's result, what belongs to its manifest alone


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the line.

    `folder` holds its rows and its manifest, `needs` are the folders it reads; `settings` and `inputs` decide whether
    it has to run again; `make` does the work and returns counts, among them the rows' `data_hash`.
    """

    name: str
    folder: str
    needs: tuple[str, ...]
    settings: Callable[[Run], Any]
    inputs: Callable[[Run], dict[str, Any]]
    make: Callable[[Run], dict[str, Any]]

    def done(self, run: Run) -> bool:
        """Whether the folder holds what these settings and inputs make."""
        manifest = store.read_manifest(run.folder / self.folder)
        if manifest is None:
            return False
        return bool(manifest["fingerprint"] == store.stage_fingerprint(self.name, self.inputs(run), self.settings(run)))


def run_stages(run: Run, line: tuple[Stage, ...], names: tuple[str, ...]) -> None:
    """Bring the named stages up to date, in the line's order; redraw the report when anything was made, or failed.

    Raises RunFolderError where a stage's predecessor is not there, and whatever the stages raise.
    """
    made = False
    try:
        for stage in line:
            if stage.name not in names:
                continue
            if stage.done(run) and not run.retry_failed:
                run.say(f"{stage.name}: unchanged")
                continue
            for need in stage.needs:
                if store.read_manifest(run.at(need)) is None:
                    raise RunFolderError(
                        f"{run.at(need)}: not made yet, and {stage.name} reads it; `distill run` makes the whole line"
                    )
            made = True
            (run.folder / stage.folder / store.MANIFEST).unlink(missing_ok=True)
            with run.stage(stage.name) as counts:
                result = stage.make(run)
                counts.update({key: value for key, value in result.items() if key not in WRITTEN})
            store.write_manifest(run.folder / stage.folder, stage.name, stage.inputs(run), stage.settings(run), result)
    finally:
        if "report" in names and (made or names == ("report",) or not (run.folder / "report.html").exists()):
            from distill.report.build import build
            from distill.report.figures import draw

            draw(run.folder)
            run.say(f"report: {build(run.folder)}")


def plan(run: Run, line: tuple[Stage, ...]) -> list[tuple[str, bool]]:
    """(stage, whether it has to run) for the whole line; what follows a stage that has to run may have to as well."""
    lines, dirty = [], False
    for stage in line:
        dirty = dirty or not stage.done(run)
        lines.append((stage.name, dirty))
    return lines
