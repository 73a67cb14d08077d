"""The ablations of a run: every variant and student with its figures, tests and cost, and the curves.

Called by `build`, and by `figures` for the curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from distill import store
from distill.report import plots
from distill.report.files import RunFiles
from distill.report.plots import Panels, Point
from distill.report.words import interval_text, measure_label
from distill.results import Ablation, AblationRow, EvaluationResult, read_as

DOWNLOADS = (
    ("table (Markdown)", "ablation", "table.md"),
    ("table (LaTeX)", "ablation", "table.tex"),
    ("against size (svg)", "figures", "ablation-size.svg"),
    ("against tokens (svg)", "figures", "ablation-tokens.svg"),
)


def read(files: RunFiles) -> Ablation:
    """ablation/ablation.json, empty where there is none."""
    return read_as(Ablation, store.read_json(files.run / "ablation" / "ablation.json"))


def section(files: RunFiles) -> dict[str, Any] | None:
    """Tables and curves by set; None without an ablation."""
    ablation = read(files)
    if not ablation.rows:
        return None
    return {
        "sets": [_one(ablation, name, result) for name, result in ablation.sets.items()],
        "charts": [
            (f"{title} by training size", plots.panels({title: series}, "pairs trained on", "o-"))
            for title, series in sizes(ablation).items()
        ],
        "downloads": files.links(DOWNLOADS),
    }


def _one(ablation: Ablation, name: str, result: EvaluationResult) -> dict[str, Any]:
    primary = _primary(result)
    by_row, unknown = {row.row: row for row in ablation.rows}, AblationRow(row="")
    rows = [
        {
            "row": by_row.get(system, unknown),
            "name": system,
            "value": values.get(primary),
            "interval": interval_text(result.intervals.get(system, {}).get(primary)),
            "test": result.tests.get(system, {}).get(primary),
            "tokens": by_row.get(system, unknown).measures.get(name, {}).get("tokens_per_pair"),
        }
        for system, values in result.measures.items()
    ]
    return {"name": name, "measure": measure_label(primary), "baseline": result.baseline, "rows": rows}


def _primary(result: EvaluationResult) -> str:
    return next((name for values in result.measures.values() for name in values), "")


def sizes(ablation: Ablation) -> Panels:
    """Quality against the number of pairs trained on, a series a target, where there are two sizes of it."""

    def examples(row: AblationRow, name: str) -> float | None:
        return None if row.changes.keys() - {"sft.targets"} else row.examples

    panels = _panels(ablation, examples, _without_size)
    curves = {
        title: {name: points for name, points in series.items() if len({point.x for point in points}) > 1}
        for title, series in panels.items()
    }
    return {title: series for title, series in curves.items() if series}


def spent(ablation: Ablation) -> Panels:
    """Quality against the tokens that a pair costs, a series a student."""
    return _panels(ablation, lambda row, name: row.measures.get(name, {}).get("tokens_per_pair"), lambda row: row.row)


def _panels(
    ablation: Ablation, x_of: Callable[[AblationRow, str], float | None], series_of: Callable[[AblationRow], str]
) -> Panels:
    panels: Panels = {}
    for name, result in ablation.sets.items():
        primary = _primary(result)
        series: dict[str, list[Point]] = {}
        for row in ablation.rows:
            x, y = x_of(row, name), result.measures.get(row.row, {}).get(primary)
            if x is not None and y is not None and math.isfinite(x) and math.isfinite(y):
                low, high = result.intervals.get(row.row, {}).get(primary) or (y, y)
                series.setdefault(series_of(row), []).append(Point(x, y, low, high))
        if series:
            panels[f"{measure_label(primary)} on {name}"] = series
    return panels


def _without_size(row: AblationRow) -> str:
    """The student's name without its size."""
    head, _, size = row.student.rpartition("_")
    return head if size.isdigit() and head else row.student
