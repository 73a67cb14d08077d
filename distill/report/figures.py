"""Figures for a paper: SVG with its text as text, and PNG, drawn by matplotlib out of what the run measured.

In figures/ of the run: SET (dot and whisker of each system), SET-tokens (quality against the tokens a pair costs),
ablation-size and ablation-tokens where there is an ablation. Drawn anew only when metrics or ablation have changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill import store
from distill.report.ablation import Point, sizes, spent
from distill.report.evaluated import EvaluationSet, evaluation_sets
from distill.report.files import RunFiles
from distill.report.systems import _order
from distill.report.words import colours, measure_label, safe_name, system_label

KINDS = ("svg", "png")
# The report's own colours (templates/report.css, --c0 to --c9), which print well and differ for most eyes.
PAINT = (
    "#85817a", "#b5b0a6", "#c9772b", "#0b7a75", "#5b5fc7", "#b0467f", "#6d8b1f", "#2f7fbd", "#8c5a3c", "#4a4a4a",
)  # fmt: skip
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "distill", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3dfd4", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "figure.dpi": 100, "savefig.dpi": 300, "font.family": "sans-serif",
}  # fmt: skip


def draw(run: Path) -> list[Path]:
    """Draw what the run's figures are of, and return their paths; [] where nothing was evaluated yet."""
    files = RunFiles(run)
    sets = [each for each in evaluation_sets(files) if safe_name(each.name)]
    if not sets:
        return []
    folder = run / "figures"
    made_of = store.fingerprint([files.metrics.evaluation, files.metrics.intervals, sizes(files)])
    drawn = store.read_json(folder / "made_of.json")
    if isinstance(drawn, dict) and drawn.get("made_of") == made_of:
        return sorted(p for p in folder.iterdir() if p.suffix[1:] in KINDS)
    folder.mkdir(exist_ok=True)
    made: list[Path] = []
    for each in sets:
        made += _whiskers(folder / each.name, each)
        made += _tokens(folder / f"{each.name}-tokens", each)
    made += _curves(folder / "ablation-size", sizes(files), "pairs trained on", line=True)
    made += _curves(folder / "ablation-tokens", spent(files), "tokens a pair", line=False)
    store.write_json(folder / "made_of.json", {"made_of": made_of})
    return made


def _whiskers(stem: Path, each: EvaluationSet) -> list[Path]:
    """Every system's mean with its interval, by the primary measure."""
    name, order = each.primary or "", [s for s in _order(each) if each.value(s) is not None]
    if not order:
        return []
    from matplotlib.figure import Figure

    paint = colours(order)
    with _style():
        figure = Figure(figsize=(5.2, 0.7 + 0.32 * len(order)), layout="constrained")
        axes = figure.subplots()
        for at, system in enumerate(order):
            value = each.value(system) or 0.0
            low, high = each.interval(system, name) or (value, value)
            colour = PAINT[paint[system]]
            axes.plot([low, high], [at, at], color=colour, linewidth=2, solid_capstyle="round")
            axes.plot([value], [at], "o", color=colour, markersize=6)
        axes.set_yticks(range(len(order)), [_text(system_label(s)) for s in order])
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(_text(f"{measure_label(name)} on {each.name}, mean and 95 % interval"))
        return _save(figure, stem)


def _tokens(stem: Path, each: EvaluationSet) -> list[Path]:
    """Quality against the tokens that a pair costs, of the systems that say how many they write."""
    points = [
        Point(system, tokens, value, each.interval(system, each.primary or ""))
        for system in each.students
        if (tokens := each.value(system, "tokens_per_pair")) is not None and (value := each.value(system)) is not None
    ]
    if len(points) < 2:
        return []
    title = measure_label(each.primary or "")
    return _curves(stem, {title: {point.series: [point] for point in points}}, "tokens a pair", line=False)


def _curves(stem: Path, panels: dict[str, dict[str, list[Point]]], x_label: str, line: bool) -> list[Path]:
    """One panel a set: points with whiskers, joined where they are steps of one setting."""
    if not panels:
        return []
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(4.2 * len(panels), 3.1), layout="constrained")
        for axes, (title, series) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            paint = colours(list(series))
            span = max(p.x for ps in series.values() for p in ps) - min(p.x for ps in series.values() for p in ps)
            for at, (name, points) in enumerate(series.items()):
                colour, aside = PAINT[paint[name]], (at - (len(series) - 1) / 2) * 0.008 * span
                ordered = sorted(points, key=lambda point: point.x)
                for point in ordered:
                    low, high = point.interval or (point.y, point.y)
                    axes.plot([point.x + aside] * 2, [low, high], color=colour, linewidth=1.2, alpha=0.6)
                style = "o-" if line else "o"
                xs, ys = [p.x for p in ordered], [p.y for p in ordered]
                axes.plot(xs, ys, style, color=colour, markersize=5, label=_text(system_label(name)))
            axes.set_xlabel(x_label)
            axes.set_ylabel(_text(title))
            axes.legend(frameon=False, fontsize=8)
        return _save(figure, stem)


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _save(figure: Any, stem: Path) -> list[Path]:
    """The figure in both kinds; equal figures are equal files."""
    made = []
    for kind in KINDS:
        path = stem.with_name(f"{stem.name}.{kind}")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(path, format=kind, metadata=metadata)
        made.append(path)
    return made


def _text(text: str) -> str:
    """Text that matplotlib takes as text: no formulas, nothing that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")[:80]
