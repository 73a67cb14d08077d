"""One student asked in several modes: what each costs, how far its scores can be trusted, and the curve between."""

from __future__ import annotations

from typing import Any

from distill import store
from distill.report.chart import Chart, line_chart
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.words import colours, count, cut, interval_text, measure, safe_name, system_label

OWN = "its own, as fitted"


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """By set: the modes' table, reliability plots, curves; and how calibrations were checked, once for all sets.

    None where no student was asked in more than one mode, and none was calibrated.
    """
    found = [one for each in sets if (one := _one(files, each)) is not None]
    if not found:
        return None
    described = [students for each in sets if (students := _students(files, each))]
    by_student = {name: one["checks"] for students in described for name, one in students.items() if one.get("checks")}
    checks = [_check(name, each) for name, rows in by_student.items() for each in rows]
    again = any(each["instruction"] != OWN for each in checks)
    return {"sets": found, "checks": checks if again else [], "on": files.setting("evaluation", "calibrate_on")}


def _students(files: RunFiles, each: EvaluationSet) -> dict[str, dict[str, Any]]:
    raw = store.read_json(files.run / "evaluation" / f"{each.name}.modes.json") if safe_name(each.name) else None
    return {n: s for n, s in raw.items() if isinstance(s, dict)} if isinstance(raw, dict) else {}


def _check(student: str, each: dict[str, Any]) -> dict[str, Any]:
    """One line of the table: a mode's scores under an instruction, before and after the saved calibration."""
    text = each.get("template")
    before, after = each.get("before") or {}, each.get("after") or {}
    return {
        "student": student,
        "mode": str(each.get("mode", "")).replace(":", " "),
        "instruction": OWN if text is None else cut(text, 160) or "none",
        "cells": [measure(before.get("ECE")), measure(after.get("ECE")), measure(after.get("Brier"))],
        "off": bool(each.get("off")),
    }


def _one(files: RunFiles, each: EvaluationSet) -> dict[str, Any] | None:
    students = _students(files, each)
    shown = {name: one for name, one in students.items() if len(one.get("systems") or {}) > 1}
    fitted = any(row.get("calibrated") for one in students.values() for row in (one.get("systems") or {}).values())
    if not shown and not fitted:
        return None
    return {
        "name": each.name,
        "primary": each.primary,
        "rows": [_row(each, name, system, row) for name, one in students.items() for system, row in _systems(one)],
        "curves": [c for name, one in shown.items() if (c := _curve(each, name, one))],
        "reliability": [c for one in students.values() for system, row in _systems(one) if (c := _bins(system, row))],
        "windows": [(name, _window(one["window"])) for name, one in students.items() if one.get("window")],
        "href": files.link("evaluation", f"{each.name}.modes.json"),
    }


def _systems(one: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted((one.get("systems") or {}).items(), key=lambda item: item[1].get("tokens_per_pair") or 0)


def _row(each: EvaluationSet, student: str, system: str, row: dict[str, Any]) -> dict[str, Any]:
    before, after = row.get("raw") or {}, row.get("calibrated") or {}
    return {
        "student": student,
        "mode": str(row.get("mode", "")).replace(":", " "),
        "cells": [
            measure(each.value(system)),
            interval_text(each.interval(system, each.primary or "")),
            measure(row.get("tokens_per_pair")),
            measure(row.get("pairs_per_s")),
            measure(before.get("ECE")),
            measure(after.get("ECE")),
            measure(after.get("Brier", before.get("Brier"))),
            count(row.get("forced") or 0),
            count(row.get("unparsable") or 0),
        ],
    }


def _curve(each: EvaluationSet, name: str, one: dict[str, Any]) -> Chart | None:
    """Quality against tokens: the modes as they were run, and what other windows of mode adaptive would have given."""
    points = [(row["tokens_per_pair"], value) for system, row in _systems(one)
              if row.get("mode") != "adaptive" and (value := each.value(system)) is not None]  # fmt: skip
    series = {"direct, budgets, think": points}
    if one.get("curve"):
        series["adaptive, by its window"] = [(float(tokens), float(value)) for tokens, value in one["curve"]]
    title = f"{system_label(name)}: {each.primary} against tokens"
    return line_chart(title, "tokens a pair", series, colours(list(series)))


def _bins(system: str, row: dict[str, Any]) -> Chart | None:
    """The reliability plot: the share that is relevant against the mean score, bin by bin."""
    series = {"as it should be": [(0.0, 0.0), (1.0, 1.0)]}
    for kind, label in (("raw", "score as it is"), ("calibrated", "calibrated")):
        bins = (row.get(kind) or {}).get("bins") or []
        if len(bins) > 1:
            series[label] = [(float(score), float(share)) for score, share, _ in bins]
    if len(series) == 1:
        return None
    return line_chart(f"{system_label(system)}: share relevant", "score", series, colours(list(series)))


def _window(limits: list[Any]) -> str:
    low, high, top = limits
    text = f"direct log-odds between {_bound(low)} and {_bound(high)}"
    return f"{text}, of the {top} best of a query" if top else text


def _bound(value: Any) -> str:
    number = float(value)
    return "−∞" if number == float("-inf") else "∞" if number == float("inf") else f"{number:.2f}"
