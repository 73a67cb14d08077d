"""Figures for a paper: SVG with its text as text, and PNG, drawn by matplotlib out of what the run measured.

In figures/ of the run: SET (dot and whisker of each system), SET-tokens (quality against the tokens a pair costs),
ablation-size and ablation-tokens where there is an ablation. Drawn anew only when metrics or ablation have changed.
Called by the pipeline's stage `report`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.report.ablation import Panels, Point, read, sizes, spent
from distill.report.evaluated import EvaluationSet, evaluation_sets
from distill.report.files import RunFiles
from distill.report.plots import PAINT, plain_text
from distill.report.plots import STYLE as PLAIN
from distill.report.words import colours, measure_label, safe_name, system_label

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
        figures |= {f"{each.name}-tokens": _curves(_tokens(each), "tokens a pair", "o") for each in sets}
        figures["ablation-size"] = _curves(sizes(ablation), "pairs trained on", "o-")
        figures["ablation-tokens"] = _curves(spent(ablation), "tokens a pair", "o")
        made = [_save(figure, folder / f"{name}.{kind}") for name, figure in figures.items() if figure
                for kind in KINDS]  # fmt: skip
    store.write_json(folder / "made_of.json", {"made_of": made_of})
    return made


def _whiskers(each: EvaluationSet) -> Figure | None:
    """Every system's mean with its interval, by the primary measure."""
    from matplotlib.figure import Figure

    name, values = each.primary or "", [(s, v) for s in each.order if (v := each.value(s)) is not None]
    if not values:
        return None
    paint = colours([system for system, _ in values])
    figure = Figure(figsize=(5.2, 0.7 + 0.32 * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (system, value) in enumerate(values):
        colour = PAINT[paint[system]]
        axes.plot(
            each.interval(system, name) or [value] * 2, [row] * 2, color=colour, linewidth=2, solid_capstyle="round"
        )
        axes.plot([value], [row], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(values)), [plain_text(system_label(system)) for system, _ in values])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(plain_text(f"{measure_label(name)} on {each.name}, mean and 95 % interval"))
    return figure


def _tokens(each: EvaluationSet) -> Panels:
    """Quality against the tokens that a pair costs, where at least two systems say how many they write."""
    points = {
        system: [Point(tokens, value, *(each.interval(system, each.primary or "") or (value, value)))]
        for system in each.students
        if (tokens := each.value(system, "tokens_per_pair")) is not None and (value := each.value(system)) is not None
    }
    return {measure_label(each.primary or ""): points} if len(points) > 1 else {}


def _curves(panels: Panels, x_label: str, style: str) -> Figure | None:
    """One panel a set: points with whiskers, joined where `style` says so (steps of one setting)."""
    if not panels:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 3.1), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        paint, xs = colours(list(series)), [point.x for points in series.values() for point in points]
        for number, (name, points) in enumerate(series.items()):
            colour, aside = PAINT[paint[name]], (number - (len(series) - 1) / 2) * 0.008 * (max(xs) - min(xs))
            ordered = sorted(points, key=lambda point: point.x)
            for point in ordered:
                axes.plot([point.x + aside] * 2, [point.low, point.high], color=colour, linewidth=1.2, alpha=0.6)
            label = plain_text(system_label(name))
            axes.plot([p.x for p in ordered], [p.y for p in ordered], style, color=colour, markersize=5, label=label)
        axes.set_xlabel(x_label)
        axes.set_ylabel(plain_text(title))
        axes.legend(frameon=False, fontsize=8)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    """Write the figure; equal figures are equal files."""
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, metadata=metadata)
    return path
