"""Draw report.html from a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.errors import RunFolderError
from distill.report import (
    ablation,
    appendix,
    cost,
    deploy,
    earlier,
    funnel,
    limits,
    mistakes,
    modes,
    page,
    queries,
    refresh,
    result,
    samples,
    systems,
    training,
    verdicts,
)
from distill.report.evaluated import evaluation_sets
from distill.report.files import RunFiles

# (template and anchor, title, name in the bar): the order in the page; a section without anything to show is left out.
SECTIONS = (
    ("refresh", "New or served student", "Refresh"),
    ("systems", "Systems", "Systems"),
    ("earlier", "Against the run before", "Before"),
    ("deploy", "Use it", "Use it"),
    ("modes", "Modes of one student", "Modes"),
    ("limits", "What this evaluation cannot say", "Limits"),
    ("mistakes", "Read these before you ship", "Read first"),
    ("queries", "Query by query", "Queries"),
    ("ablation", "Ablations", "Ablations"),
    ("training", "Training", "Training"),
    ("funnel", "From pairs to traces", "Funnel"),
    ("verdicts", "What the teacher said", "Teacher"),
    ("samples", "Traces to read", "Traces"),
    ("cost", "Cost and time", "Cost"),
    ("appendix", "How it was made", "Provenance"),
)


def build(run: Path) -> Path:
    """Read everything from the run folder, write `run/report.html`, and return its path.

    A run that was stopped half-way gets a partial report that says so. Raises RunFolderError where `run` is no folder.
    """
    run = Path(run)
    if not run.is_dir():
        raise RunFolderError(f"{run}: no such run folder")
    files = RunFiles(run)
    sets = evaluation_sets(files)
    made: dict[str, Any] = {
        "refresh": refresh.section(files),
        "systems": systems.section(files, sets),
        "mistakes": mistakes.section(files, sets),
        "earlier": earlier.section(files, sets),
        "deploy": deploy.section(files, sets),
        "modes": modes.section(files, sets),
        "limits": limits.section(files, sets),
        "queries": queries.section(files, sets),
        "ablation": ablation.section(files),
        "training": training.section(files),
        "funnel": funnel.section(files),
        "verdicts": verdicts.section(files),
        "samples": samples.section(files),
        "cost": cost.section(files),
        "appendix": appendix.section(files),
    }
    html = page.render(
        "report.html.j2",
        "report.css",
        ("report.js",),
        result=result.section(files, sets),
        sections=[(name, title, short, made[name]) for name, title, short in SECTIONS if made[name] is not None],
    )
    return page.write(run / "report.html", html)
