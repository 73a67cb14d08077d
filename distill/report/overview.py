"""One page over several runs: `distill report runs/*` draws each run's report and this index of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.config import resolved
from distill.errors import RunFolderError
from distill.report import page
from distill.report.build import build
from distill.report.choice import choice, lights
from distill.report.evaluated import evaluation_sets
from distill.report.files import RunFiles
from distill.report.result import headline, main_set
from distill.report.words import href, interval_text, measure, system_label
from distill.stages import STAGES

NAME = "index.html"


def write(folders: Sequence[Path]) -> Path:
    """Draw the report of every run folder among `folders`, and of several `index.html` next to the first.

    Returns the path of the index, or of the only report. What is no run folder is left out, as what else `runs/*` finds
    is. Raises RunFolderError where none is one.
    """
    runs = [folder for folder in folders if folder.is_dir() and resolved(folder)]
    if not runs:
        raise RunFolderError(f"{', '.join(map(str, folders))}: none is a run folder; `distill run CONFIG` makes one")
    parent = runs[0].resolve().parent
    rows = [_row(RunFiles(folder), parent) for folder in runs if build(folder)]
    if len(runs) == 1:
        return runs[0] / "report.html"
    rows.sort(key=lambda row: str(row["written"]), reverse=True)
    html = page.render("index.html.j2", "report.css", ("report.js",), rows=rows, folder=parent.name)
    return page.write(parent / NAME, html)


def _row(files: RunFiles, parent: Path) -> dict[str, Any]:
    sets = evaluation_sets(files)
    main = main_set(sets)
    path = files.run.resolve()
    row: dict[str, Any] = {
        "name": files.name,
        "href": href(*path.relative_to(parent).parts, "report.html") if path.is_relative_to(parent) else path.as_uri(),
        "written": max((str(m.get("written", "")) for m in files.manifests.values()), default=""),
        "title": headline(files, sets)[0],
        "done": sum(files.state(stage.name) == "done" for stage in STAGES),
        "stages": len(STAGES),
        "cost": files.cost_usd,
        "best": "", "value": "", "interval": "", "measure": "", "choice": "", "lights": [],
    }  # fmt: skip
    if main is not None:
        best, primary = main.students[0], main.primary or ""
        row |= {
            "best": system_label(best),
            "value": measure(main.value(best)),
            "interval": interval_text(main.interval(best, primary)),
            "measure": f"{primary} on {main.name}",
            "choice": choice(files, main).title,
            "lights": lights(files, main),
        }
    return row
