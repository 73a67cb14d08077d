"""The trace viewer as one self-contained page. Large runs are served instead (`distill.report.server`)."""

from __future__ import annotations

from pathlib import Path

from distill.errors import RunFolderError
from distill.report import page
from distill.report.adjudication import Adjudications
from distill.report.traces import Traces

MAX_BYTES = 48 << 20


def shell(data: str = "", name: str = "") -> str:
    """The viewer's HTML. With `data` it needs nothing else; without, it asks the server that it came from."""
    from markupsafe import Markup

    scripts = ("viewer_data.js", "viewer_review.js", "viewer.js")
    return page.render("viewer.html.j2", "viewer.css", scripts, connect=not data, name=name, data=Markup(data))


def write(run: Path, out: Path | None = None) -> Path:
    """Write all traces of the run into one page (`run/traces.html` by default) and return its path.

    Raises RunFolderError where there are no traces, or more than a page can hold: then `distill view RUN` serves them.
    """
    run = Path(run)
    traces = load(run)
    rows = list(range(len(traces)))
    decided = Adjudications(run).all()
    data = page.embedded({"index": traces.index(), "texts": traces.texts(rows), "decided": decided})
    if len(data) > MAX_BYTES:
        size = f"{len(traces):,} traces make {len(data) >> 20} MB"
        raise RunFolderError(f"{run}: {size}, too much for one page; `distill view RUN` serves them")
    return page.write(Path(out) if out else run / "traces.html", shell(data, traces.files.name))


def load(run: Path) -> Traces:
    """The run's traces. Raises RunFolderError where there are none."""
    if not Path(run).is_dir():
        raise RunFolderError(f"{run}: no such run folder")
    traces = Traces(Path(run))
    if not len(traces):
        raise RunFolderError(f"{run}: has no traces to view; `distill trace CONFIG` asks the teacher for them")
    return traces
