"""Line charts as plain numbers, for the `chart` macro to draw.

The lines live in a square of 1000 × 1000 that is stretched to the page, the labels are placed at percentages next to
it: so text keeps its size on a phone, and nothing is drawn twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_POINTS = 400


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where (percent from left or top) and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name, its colour's number, the smoothed path and the raw one."""

    name: str
    colour: int
    path: str
    raw: str
    last: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its axes."""

    title: str
    x_label: str
    x: list[Tick]
    y: list[Tick]
    lines: list[Line]


def line_chart(
    title: str, x_label: str, series: dict[str, list[tuple[float, float]]], colours: dict[str, int]
) -> Chart | None:
    """A chart of the series' (x, y) points in order of x, y from the lowest to the highest; None without a point.

    Points that are no finite numbers are left out; more than 400 of a series are thinned to their means.
    """
    series = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    series = {name: _thinned(points) for name, points in series.items() if points}
    if not series:
        return None
    xs, ys = zip(*(point for points in series.values() for point in points), strict=True)
    lowest = 0 if 0 <= min(ys) < max(ys) / 2 else min(ys)
    x_ticks, y_ticks = nice_ticks(0, max(xs), 5), nice_ticks(lowest, max(ys), 4)
    left, right = 0.0, max(max(xs), 1e-12)
    bottom, top = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))
    if top == bottom:
        top = bottom + 1

    def path(points: Sequence[tuple[float, float]]) -> str:
        placed = (
            f"{1000 * (x - left) / (right - left):.1f} {1000 * (top - y) / (top - bottom):.1f}" for x, y in points
        )
        return "M" + "L".join(placed)

    return Chart(
        title,
        x_label,
        [Tick(100 * (x - left) / (right - left), number(x)) for x in x_ticks if x <= right * 1.0001],
        [Tick(100 * (top - y) / (top - bottom), number(y)) for y in y_ticks],
        [
            Line(name, colours.get(name, 9), path(_smoothed(points)), path(points), points[-1][1])
            for name, points in series.items()
        ],
    )


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Around `about` round numbers (1, 2, 2.5 or 5 times a power of ten) that cover [low, high]."""
    span = high - low if high - low > 1e-9 * max(abs(high), 1e-3) else max(abs(high), 1.0)
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(at * step, 12) for at in range(first, max(last, first + 1) + 1)]


def number(value: float) -> str:
    """An axis label: short, without needless zeros."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MAX_POINTS)
    if size == 1:
        return points
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """An exponential mean over about a fortieth of the line, corrected for its start; short lines as they are."""
    if len(points) < 40:
        return points
    keep, mean, weight, found = 1 - 40 / len(points) if len(points) > 80 else 0.5, 0.0, 0.0, []
    for x, y in points:
        mean, weight = keep * mean + (1 - keep) * y, keep * weight + (1 - keep)
        found.append((x, mean / weight))
    return found
