"""One student asked in several modes: what each costs, how far its scores can be trusted, and the curve between.

Called by `build`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from distill import store
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.plots import curves
from distill.report.words import count, cut, interval_text, measure, safe_name, system_label
from distill.results import Calibration, CalibrationCheck, ModeResult, StudentModes, read_as

if TYPE_CHECKING:
    from markupsafe import Markup

OWN = "its own, as fitted"
Drawn = tuple[str, "Markup | None"]
"""A chart's title, and the chart."""


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """By set: the modes' table, reliability plots, curves; and how calibrations were checked, once for all sets.

    None where no student was asked in more than one mode, and none was calibrated.
    """
    by_set = [(each, students_modes(files, each)) for each in sets]
    shown = [one for each, students in by_set if (one := _one(files, each, students)) is not None]
    if not shown:
        return None
    checked = {name: student.checks for _, students in by_set for name, student in students.items() if student.checks}
    checks = [_check(name, check) for name, checks in checked.items() for check in checks]
    again = any(check["instruction"] != OWN for check in checks)
    return {"sets": shown, "checks": checks if again else [], "on": files.setting("evaluation", "calibrate_on")}


def students_modes(files: RunFiles, each: EvaluationSet) -> dict[str, StudentModes]:
    """{student: how it was asked on the set}, out of evaluation/SET.modes.json; {} where there is none."""
    raw = store.read_json(files.run / "evaluation" / f"{each.name}.modes.json") if safe_name(each.name) else None
    return {name: read_as(StudentModes, student) for name, student in raw.items()} if isinstance(raw, dict) else {}


def _check(student: str, check: CalibrationCheck) -> dict[str, Any]:
    """One line of the table: a mode's scores under an instruction, before and after the saved calibration."""
    return {
        "student": student,
        "mode": check.mode.replace(":", " "),
        "instruction": OWN if check.template is None else cut(check.template, 160) or "none",
        "cells": [measure(check.before.ECE), measure(check.after.ECE), measure(check.after.Brier)],
        "off": check.off,
    }


def _one(files: RunFiles, each: EvaluationSet, students: dict[str, StudentModes]) -> dict[str, Any] | None:
    several = {name: student for name, student in students.items() if len(student.systems) > 1}
    systems = [(name, system, row) for name, student in students.items() for system, row in _systems(student)]
    if not several and not any(row.calibrated for _, _, row in systems):
        return None
    return {
        "name": each.name,
        "primary": each.primary,
        "rows": [_row(each, name, system, row) for name, system, row in systems],
        "curves": [_curve(each, name, student) for name, student in several.items()],
        "reliability": [plot for _, system, row in systems if (plot := _bins(system, row))],
        "windows": [(name, _window(*student.window)) for name, student in students.items() if student.window],
        "href": files.link("evaluation", f"{each.name}.modes.json"),
    }


def _systems(student: StudentModes) -> list[tuple[str, ModeResult]]:
    return sorted(student.systems.items(), key=lambda item: item[1].tokens_per_pair or 0)


def _row(each: EvaluationSet, student: str, system: str, row: ModeResult) -> dict[str, Any]:
    after = row.calibrated or Calibration()
    return {
        "student": student,
        "mode": row.mode.replace(":", " "),
        "cells": [
            measure(each.value(system)),
            interval_text(each.interval(system, each.primary or "")),
            measure(row.tokens_per_pair),
            measure(row.pairs_per_s),
            measure(row.raw.ECE),
            measure(after.ECE),
            measure(row.raw.Brier if after.Brier is None else after.Brier),
            count(row.forced),
            count(row.unparsable),
        ],
    }


def _curve(each: EvaluationSet, name: str, student: StudentModes) -> Drawn:
    """Quality against tokens: the modes as they were run, and what other windows of mode adaptive would have given."""
    points = [
        (row.tokens_per_pair or 0.0, value)
        for system, row in _systems(student)
        if row.mode != "adaptive" and (value := each.value(system)) is not None
    ]
    series = {"direct, budgets, think": points}
    if student.curve:
        series["adaptive, by its window"] = student.curve
    title = f"{system_label(name)}: {each.primary} against tokens"
    return title, curves("tokens a pair", series, title)


def _bins(system: str, row: ModeResult) -> Drawn | None:
    """The reliability plot: the share that is relevant against the mean score, bin by bin."""
    series = {"as it should be": [(0.0, 0.0), (1.0, 1.0)]}
    for calibration, label in ((row.raw, "score as it is"), (row.calibrated, "calibrated")):
        if calibration and len(calibration.bins) > 1:
            series[label] = [(score, share) for score, share, _ in calibration.bins]
    if len(series) == 1:
        return None
    title = f"{system_label(system)}: share relevant"
    return title, curves("score", series, title)


def _window(low: float, high: float, top: int | None) -> str:
    text = f"direct log-odds between {_bound(low)} and {_bound(high)}"
    return f"{text}, of the {top} best of a query" if top else text


def _bound(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞" if value > 0 else "−∞"
