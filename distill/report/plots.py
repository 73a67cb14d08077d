"""The charts of the report, drawn by matplotlib.

Called by the report's sections, which get SVG for the page; `figures` draws whiskers and panels for papers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from operator import mul as multiply
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distill.report.choice import seconds as latency
from distill.report.evaluated import EvaluationSet
from distill.report.svg import LOSS, ON_PAGE, PAINT, SOFT, WIN, inline, plain_text
from distill.report.words import colours, interval_text, measure, measure_label, system_label, usd

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WIDTH, HEIGHT = 4.2, 3.0  # inches; 302 points, about a phone's width in pixels
ROW = 0.27  # inches of a system in `whisker_figure`
MAX_POINTS = 400
LINE = 12.5  # points from a name on a chart to the next
Series = dict[str, list[tuple[float, float]]]
"""{name: [(x, y)]}, in order of x."""


class Point(NamedTuple):
    """One student on a curve, with the 95 % interval of `y`."""

    x: float
    y: float
    low: float
    high: float


Panels = dict[str, dict[str, list[Point]]]
"""{title: {series: points}}."""


def quality_and_cost(each: EvaluationSet) -> Markup | None:
    """Quality against the time of a query, and above it the dollars per 1,000 queries; None where no time is known.

    All systems with their 95 % intervals; the first stage, which costs no judging, is a dashed level.
    """
    times = {system: s for system in each.order if (s := each.seconds_a_query(system)) and each.value(system)}
    if not times:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    with rc_context(ON_PAGE):
        figure = Figure(figsize=(WIDTH, HEIGHT + 0.15 * max(0, len(times) - 5)), layout="constrained")
        axes = figure.subplots()
        paint, dots = colours(each.order), {}
        for system, at in times.items():
            value, colour = each.value(system) or 0.0, PAINT[paint[system]]
            axes.plot([at] * 2, each.interval(system, each.primary or "") or [value] * 2, color=colour, alpha=0.5)
            text = f"{system_label(system)}: {each.primary} {measure(value)}, {latency(at)} a query"
            dollars = each.usd_a_thousand(system)
            tip = f"tip {text}{f', {usd(dollars)} per 1,000' if dollars else ''}"
            axes.plot([at], [value], "s" if system.endswith(".fused") else "o", markersize=7, color=colour, gid=tip)
            dots[plain_text(f"{system_label(system)} {measure(value)}")] = (at, value)
        first = each.value("first_stage")
        low, high = min(times.values()) / 1.7, max(times.values()) * 1.7
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        if first is not None:
            axes.axhline(first, color=PAINT[0], linestyle="--", linewidth=1.2)
            axes.text(high, first, f"First stage {measure(first)}", va="bottom", ha="right")
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(FixedLocator(_rounded(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: latency(at)))
        axes.set_xlabel("time of a query on one device, in batches (log scale)")
        axes.set_ylabel(plain_text(measure_label(each.primary or "")))
        rent = each.usd_per_hour
        if rent:
            factor = rent / 3.6
            above = axes.secondary_xaxis("top", functions=(partial(multiply, factor), partial(multiply, 1 / factor)))
            above.set_xlabel(f"USD per 1,000 queries at {rent:g} USD an hour")
            above.xaxis.set_major_locator(FixedLocator(_rounded(low * factor, high * factor)))
            above.xaxis.set_minor_formatter(NullFormatter())
            above.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:.3g}"))
        _label(figure, axes, dots)
        return inline(figure, f"{each.primary} against the time of a query")


def histogram(series: dict[str, NDArray[Any]], x_label: str, y_label: str, most: float | None = None) -> Markup | None:
    """How many values of each series are how large, from 0 to `most`; by default the largest hundredth is put into the
    last bar."""
    values = np.sort(np.concatenate(list(series.values())))
    if not len(values) or values[-1] == values[0]:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    highest = most or int(values[min(len(values) - 1, int(len(values) * 0.99))] or values[-1])
    with rc_context(ON_PAGE):
        figure = Figure(figsize=(WIDTH, HEIGHT * 0.8), layout="constrained")
        axes = figure.subplots()
        cut = [np.minimum(numbers, highest) for numbers in series.values()]
        paint = [PAINT[number] for number in (3, 2, 4)[: len(cut)]]
        axes.hist(cut, bins=24, range=(0, highest), stacked=True, color=paint, label=list(series))
        axes.set_xlabel(f"{x_label} (the last bar: {highest:,} or more)" if highest < values[-1] else x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=False, axis="x")
        axes.legend()
        return inline(figure, f"{y_label} by {x_label}")


def whiskers(each: EvaluationSet, name: str) -> Markup | None:
    """Every system's mean with its interval, for the page; None where no interval has any width."""
    bounds = [interval for system in each.order if (interval := each.interval(system, name))]
    if all(low == high for low, high in bounds):
        return None
    from matplotlib import rc_context

    with rc_context(ON_PAGE):
        figure = whisker_figure(each, name, WIDTH)
        said = [
            f"{system_label(system)} {measure(value)} ({interval_text(each.interval(system, name), 'to') or '–'})"
            for system in each.order
            if (value := each.value(system, name)) is not None
        ]
        return inline(figure, f"{measure_label(name)}: {'; '.join(said)}") if figure else None


def whisker_figure(each: EvaluationSet, name: str, width: float) -> Figure | None:
    """Every system's mean of a measure with its 95 % interval, `width` in inches; None without a value."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = [(system, v) for system in each.order if (v := each.value(system, name)) is not None]
    if not values:
        return None
    paint = colours(each.order)
    figure = Figure(figsize=(width, 0.5 + ROW * len(values)), layout="constrained")
    axes = figure.subplots()
    for row, (system, value) in enumerate(values):
        colour, interval = PAINT[paint[system]], each.interval(system, name) or (value, value)
        axes.plot(interval, [row] * 2, color=colour, linewidth=2, solid_capstyle="round", alpha=0.6)
        axes.plot([value], [row], "o", color=colour, markersize=6)
        axes.text(1.03, row, measure(value), transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(values)), [plain_text(system_label(system)) for system, _ in values])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=False, axis="y")
    return figure


def curves(x_label: str, series: Series, label: str, students: bool = False) -> Markup | None:
    """A line a series, with a running mean where it has many points; None without a point.

    Points that are no finite numbers are left out; more than 400 of a series are thinned to their means. Where
    the series are those of `students`, their last values are named.
    """
    finite = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    drawn = {name: thinned(points) for name, points in finite.items() if points}
    if not drawn:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(ON_PAGE):
        figure = Figure(figsize=(WIDTH, HEIGHT * 0.85), layout="constrained")
        axes, paint = figure.subplots(), colours(list(series))
        for name, points in drawn.items():
            colour, (xs, ys) = PAINT[paint[name]], np.array(points).T
            mean = running_mean(ys)
            if mean is not ys:
                axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.3)
            text = plain_text(f"{system_label(name)} {measure(float(ys[-1]))}" if students else name)
            axes.plot(xs, mean, "o" if len(xs) == 1 else "-", color=colour, linewidth=1.6, label=text)
        lowest, highest = axes.get_ylim()
        least = min(y for points in drawn.values() for _, y in points)
        axes.set_ylim(0 if 0 <= least < highest / 2 else lowest, highest)
        axes.set_xlabel(x_label)
        figure.legend(loc="outside lower center", ncols=min(3, len(drawn)))
        return inline(figure, f"{label} against {x_label}")


def waterfall(values: Sequence[float], y_label: str) -> Markup:
    """The differences of all queries, the largest first, gains and losses in their colours."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    size = max(1, -(-len(values) // MAX_POINTS))  # more bars are thinner than a pixel
    bars = np.sort(np.array(values))[::-1][::size]
    edges = np.linspace(0, len(values), len(bars) + 1)
    with rc_context(ON_PAGE):
        figure = Figure(figsize=(WIDTH, HEIGHT * 0.65), layout="constrained")
        axes = figure.subplots()
        axes.stairs(np.maximum(bars, 0), edges, fill=True, color=WIN)
        axes.stairs(np.minimum(bars, 0), edges, fill=True, color=LOSS)
        axes.margins(x=0)
        axes.set_xlabel("queries, the largest gain first")
        axes.set_ylabel(plain_text(y_label))
        axes.grid(visible=False, axis="x")
        return inline(figure, f"{y_label} by query, the largest gain first")


def panels_figure(panels: Panels, x_label: str, style: str) -> Figure | None:
    """One panel a set: points with whiskers, joined where `style` says so (steps of one setting)."""
    if not panels:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
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
        axes.legend(fontsize=8)
    return figure


def panels(of: Panels, x_label: str, style: str) -> Markup | None:
    """`panels_figure` for the page."""
    from matplotlib import rc_context

    with rc_context(ON_PAGE):
        figure = panels_figure(of, x_label, style)
        return inline(figure, f"{', '.join(of)} against {x_label}") if figure else None


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 400 points: each of many is the mean of its neighbours, at the last one's x."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return points
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def running_mean(ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """An exponential mean over about a fortieth of the points, corrected for its start; fewer than 40 as they are."""
    if len(ys) < 40:
        return ys
    keep = 1 - 40 / len(ys) if len(ys) > 80 else 0.5
    mean, weight, means = 0.0, 0.0, []
    for y in ys:
        mean, weight = keep * mean + (1 - keep) * y, keep * weight + (1 - keep)
        means.append(mean / weight)
    return np.array(means)


def _rounded(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in between; without 2 and 5 where that would be many."""
    ticks = [step * 10.0**power for power in range(-9, 10) for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 6 else [tick for tick in inside if f"{tick:e}".startswith("1")]


def _label(figure: Figure, axes: Axes, dots: dict[str, tuple[float, float]]) -> None:
    """Write each dot's name where it covers neither another text nor a dot: first to its right or left."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    taken = [line.get_window_extent().padded(1) for line in axes.lines if line.get_marker() != "None"]
    point, area = figure.dpi / 72, axes.bbox
    for level in axes.texts:  # of the first stage: at the right, else at the left, above its line, else below
        for side, above in product(("right", "left"), ("bottom", "top")):
            level.set(x=axes.get_xlim()[side == "right"], horizontalalignment=side, verticalalignment=above)
            if not any(level.get_window_extent().overlaps(dot) for dot in taken):
                break
    taken += [level.get_window_extent() for level in axes.texts]
    for name, (x, y) in sorted(dots.items(), key=lambda item: -item[1][1]):
        text = axes.annotate(name, (x, y), xytext=(8, 0), textcoords="offset points", va="center")
        width, height = text.get_window_extent().size
        text.remove()
        at_x, at_y = axes.transData.transform((x, y))
        for row, right in product(sorted(range(-12, 13), key=abs), (True, False)):
            left, middle = at_x + (8 * point if right else -8 * point - width), at_y + row * LINE * point
            box = Bbox.from_bounds(left, middle - height / 2, width, height)
            inside = area.x0 < box.x0 and box.x1 < area.x1 and area.y0 < box.y0 and box.y1 < area.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            name, (x, y), xytext=(8 if right else -8, row * LINE), textcoords="offset points", va="center",
            ha="left" if right else "right",
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.5, "shrinkB": 4.0} if abs(row) > 1 else None,
        )  # fmt: skip
