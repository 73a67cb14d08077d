"""The stage `report`: page and figures, drawn from what is in the run folder. Called after the other stages."""

from __future__ import annotations

from distill.pipeline.run import Run


def write_report(run: Run) -> None:
    """Draw figures/ and report.html, and say where the page is."""
    from distill.report.build import build
    from distill.report.figures import draw

    draw(run.folder)
    run.say(f"report: {build(run.folder)}")
