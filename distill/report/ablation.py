"""The ablations of a run: every variant and student with its figures, tests and cost, and the curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from distill import store
from distill.report.chart import line_chart
from distill.report.files import RunFiles
from distill.report.words import colours, compact, count, duration, measure, measure_label, usd

SURE = 0.05


@dataclass(frozen=True, slots=True)
class Point:
    """One student on a curve."""

    series: str
    x: float
    y: float
    interval: tuple[float, float] | None


def read(files: RunFiles) -> dict[str, Any]:
    """ablation/ablation.json, {} where there is none."""
    found = store.read_json(files.run / "ablation" / "ablation.json")
    return found if isinstance(found, dict) and isinstance(found.get("rows"), list) else {}


def section(files: RunFiles) -> dict[str, Any] | None:
    """Tables and curves by set; None without an ablation."""
    found = read(files)
    if not found:
        return None
    return {
        "sets": [_one(found, name, result) for name, result in found.get("sets", {}).items()],
        "charts": [c for title, panels, x in _charts(files) if (c := _chart(title, panels, x))],
        "downloads": [
            (text, link)
            for text, parts in (
                ("table (Markdown)", ("ablation", "table.md")),
                ("table (LaTeX)", ("ablation", "table.tex")),
                ("against size (svg)", ("figures", "ablation-size.svg")),
                ("against tokens (svg)", ("figures", "ablation-tokens.svg")),
            )
            if (link := files.link(*parts))
        ],
    }


def _one(found: dict[str, Any], name: str, result: dict[str, Any]) -> dict[str, Any]:
    primary = _primary(result)
    by_row = {row["row"]: row for row in found["rows"]}
    rows = []
    for system, values in result["measures"].items():
        value, row = values.get(primary), by_row.get(system, {})
        low, high = result["intervals"].get(system, {}).get(primary, (None, None))
        test = result["tests"].get(system, {}).get(primary)
        tokens = row.get("measures", {}).get(name, {}).get("tokens_per_pair")
        rows.append(
            {
                "name": system,
                "value": measure(value),
                "interval": f"{measure(low)} – {measure(high)}" if low is not None else "",
                "p": "" if test is None else "< 0.001" if test["p_holm"] < 0.001 else f"{test['p_holm']:.3f}",
                "sure": test is not None and test["p_holm"] < SURE,
                "examples": count(row.get("examples")),
                "teacher": f"{usd(row['teacher_usd'])}, {compact(row['teacher_tokens'])} tokens" if row else "–",
                "training": duration(row.get("train_seconds")),
                "tokens": measure(tokens),
                "baseline": system == result["baseline"],
            }
        )
    return {"name": name, "measure": measure_label(primary), "baseline": result["baseline"], "rows": rows}


def _primary(result: dict[str, Any]) -> str:
    return next((name for values in result["measures"].values() for name in values), "")


def sizes(files: RunFiles) -> dict[str, dict[str, list[Point]]]:
    """{title: {target: points}} of quality against the number of pairs trained on, where there are two sizes."""
    return _points(files, lambda row, name: row.get("examples"), by_target=True)


def spent(files: RunFiles) -> dict[str, dict[str, list[Point]]]:
    """{title: {student: points}} of quality against the tokens that a pair costs."""
    return _points(files, lambda row, name: row["measures"].get(name, {}).get("tokens_per_pair"), by_target=False)


def _points(files: RunFiles, x_of: Any, by_target: bool) -> dict[str, dict[str, list[Point]]]:
    found = read(files)
    panels: dict[str, dict[str, list[Point]]] = {}
    for name, result in found.get("sets", {}).items():
        primary = _primary(result)
        series: dict[str, list[Point]] = {}
        for row in found["rows"]:
            x, y = x_of(row, name), result["measures"].get(row["row"], {}).get(primary)
            if not _number(x) or not _number(y):
                continue
            interval = result["intervals"].get(row["row"], {}).get(primary)
            key = _stem(row) if by_target else row["row"]
            if by_target and set(row.get("changes", {})) - {"sft.targets"}:
                continue
            series.setdefault(key, []).append(Point(key, float(x), float(y), tuple(interval) if interval else None))
        if by_target:
            series = {key: points for key, points in series.items() if len({p.x for p in points}) > 1}
        if series:
            panels[f"{measure_label(primary)} on {name}"] = series
    return panels


def _stem(row: dict[str, Any]) -> str:
    """The student's name without its size."""
    head, _, size = str(row["student"]).rpartition("_")
    return head if size.isdigit() and head else str(row["student"])


def _charts(files: RunFiles) -> list[tuple[str, dict[str, dict[str, list[Point]]], str]]:
    return [("by training size", sizes(files), "pairs trained on")]


def _chart(title: str, panels: dict[str, dict[str, list[Point]]], x_label: str) -> Any:
    for name, series in panels.items():
        lines = {key: sorted((p.x, p.y) for p in points) for key, points in series.items()}
        return line_chart(f"{name} {title}", x_label, lines, colours(list(lines)))
    return None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
