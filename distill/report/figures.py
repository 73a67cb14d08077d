"""Figures for a paper: SVG with its text as text, and PNG, drawn by matplotlib out of what the run measured.

In figures/ of the run: SET (dot and whisker of each system), SET-tokens (quality against the tokens a pair costs),
ablation-size and ablation-tokens where there is an ablation. Drawn anew only when metrics or ablation have changed.
Called by the pipeline's stage `report`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.report.ablation import read, sizes, spent
from distill.report.evaluated import EvaluationSet, evaluation_sets
from distill.report.files import RunFiles
from distill.report.plots import Panels, Point, panels_figure, whisker_figure
from distill.report.svg import STYLE as PLAIN
from distill.report.svg import plain_text
from distill.report.words import measure_label, safe_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("svg", "png")
STYLE = {**PLAIN, "figure.dpi": 100, "savefig.dpi": 300}


def draw(run: Path) -> list[Path]:
    """Draw what the run's figures are of, and return their paths; [] where nothing was evaluated yet."""
    files = RunFiles(run)
    sets = [each for each in evaluation_sets(files) if safe_name(each.name)]
    if not sets:
        return []
    ablation, folder = read(files), run / "figures"
    made_of = store.fingerprint([files.metrics.evaluation, files.metrics.intervals, sizes(ablation)])
    drawn = store.read_json(folder / "made_of.json")
    if isinstance(drawn, dict) and drawn.get("made_of") == made_of:
        return sorted(path for path in folder.iterdir() if path.suffix[1:] in KINDS)
    import matplotlib

    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figures = {each.name: _whiskers(each) for each in sets}
        figures |= {f"{each.name}-tokens": panels_figure(_tokens(each), "tokens a pair", "o") for each in sets}
        figures["ablation-size"] = panels_figure(sizes(ablation), "pairs trained on", "o-")
        figures["ablation-tokens"] = panels_figure(spent(ablation), "tokens a pair", "o")
        made = [_save(figure, folder / f"{name}.{kind}") for name, figure in figures.items() if figure
                for kind in KINDS]  # fmt: skip
    store.write_json(folder / "made_of.json", {"made_of": made_of})
    return made


def _whiskers(each: EvaluationSet) -> Figure | None:
    """Every system's mean with its interval, by the primary measure."""
    figure = whisker_figure(each, each.primary or "", 5.2)
    if figure is not None:
        label = f"{measure_label(each.primary or '')} on {each.name}, mean and 95 % interval"
        figure.axes[0].set_xlabel(plain_text(label))
    return figure


def _tokens(each: EvaluationSet) -> Panels:
    """Quality against the tokens that a pair costs, where at least two systems say how many they write."""
    points = {
        system: [Point(tokens, value, *(each.interval(system, each.primary or "") or (value, value)))]
        for system in each.students
        if (tokens := each.value(system, "tokens_per_pair")) is not None and (value := each.value(system)) is not None
    }
    return {measure_label(each.primary or ""): points} if len(points) > 1 else {}


def _save(figure: Figure, path: Path) -> Path:
    """Write the figure; equal figures are equal files."""
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata)
    return path
