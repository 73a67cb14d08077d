"""Charts of the report, drawn by matplotlib and put into the page as SVG in the page's own colours.

The page forbids style attributes, links and sources, and has a light and a dark mode: so `inline` writes the style as
plain attributes, the colours as the style sheet's variables, and a shape that is used several times in each place.
Called by the report's sections; `figures` shares the colours.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from functools import partial
from operator import mul as multiply
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.report.choice import seconds as latency
from distill.report.evaluated import EvaluationSet
from distill.report.words import colours, measure, measure_label, system_label, usd

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# The style sheet's --c0 to --c9 in light mode, which print well and differ for most eyes; then --soft and --line.
PAINT = (
    "#85817a", "#b5b0a6", "#c9772b", "#0b7a75", "#5b5fc7", "#b0467f", "#6d8b1f", "#2f7fbd", "#8c5a3c", "#4a4a4a",
)  # fmt: skip
SOFT, GRID = "#65625a", "#e3dfd4"
VARIABLES = {**{colour: f"c{number}" for number, colour in enumerate(PAINT)}, SOFT: "soft", GRID: "line"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "distill", "font.size": 9, "font.family": "sans-serif",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.6, "axes.axisbelow": True,
}  # fmt: skip
ON_PAGE: dict[Any, Any] = {
    **STYLE, "text.color": SOFT, "axes.labelcolor": SOFT, "axes.edgecolor": SOFT, "xtick.color": SOFT,
    "ytick.color": SOFT, "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip
WIDTH, HEIGHT = 4.2, 3.0  # inches; 302 points, about a phone's width in pixels
SHAPES = ("svg", "g", "path", "text", "tspan")
PLACES = ("viewBox", "d", "x", "y", "transform")
PAINTED = re.compile(r"(fill|stroke|stroke-width|stroke-dasharray|stroke-linecap|opacity|text-anchor): ([^;]+)")
SIZE = re.compile(r"font(?:-size)?: (?:\d+ )?([\d.]+)px")


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
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        paint, dots = colours(each.order), {}
        for system, at in times.items():
            value, colour = each.value(system) or 0.0, PAINT[paint[system]]
            axes.plot([at] * 2, each.interval(system, each.primary or "") or [value] * 2, color=colour, alpha=0.5)
            text = f"{system_label(system)}: {each.primary} {measure(value)}, {latency(at)} a query"
            dollars = each.usd_a_thousand(system)
            tip = f"tip {text}{f', {usd(dollars)} per 1,000' if dollars else ''}"
            axes.plot([at], [value], "s" if system.endswith(".fused") else "o", markersize=7, color=colour, gid=tip)
            dots[system] = (at, value)
        first = each.value("first_stage")
        low, high = min(times.values()) / 1.7, max(times.values()) * 1.7
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        if first is not None:
            axes.axhline(first, color=PAINT[0], linestyle="--", linewidth=1.2)
            axes.text(high, first, f"First stage {measure(first)}", va="bottom", ha="right", color=SOFT)
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
        _label(
            figure, axes, {plain_text(f"{system_label(name)} {measure(dots[name][1])}"): dots[name] for name in dots}
        )
        return inline(figure, f"{each.primary} against the time of a query")


def histogram(series: dict[str, NDArray[np.int32]], x_label: str, y_label: str) -> Markup | None:
    """How many values of each series are how large; the largest hundredth is put into the last bar."""
    values = np.sort(np.concatenate(list(series.values())))
    if not len(values) or values[-1] == values[0]:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    highest = int(values[min(len(values) - 1, int(len(values) * 0.99))] or values[-1])
    with rc_context(ON_PAGE):
        figure = Figure(figsize=(WIDTH, HEIGHT * 0.8), layout="constrained")
        axes = figure.subplots()
        cut = [np.minimum(numbers, highest) for numbers in series.values()]
        colours = [PAINT[number] for number in (3, 2, 4)[: len(cut)]]
        axes.hist(cut, bins=24, range=(0, highest), stacked=True, color=colours, label=list(series))
        axes.set_xlabel(f"{x_label} (the last bar: {highest:,} or more)" if highest < values[-1] else x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=False, axis="x")
        axes.legend(frameon=False, labelcolor=SOFT)
        return inline(figure, f"{y_label} by {x_label}")


def _rounded(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten in between; without 2 and 5 where that would be many."""
    ticks = [step * 10.0**power for power in range(-9, 10) for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 6 else [tick for tick in inside if f"{tick:e}".startswith("1")]


def _label(figure: Figure, axes: Axes, dots: dict[str, tuple[float, float]]) -> None:
    """Write each dot's name next to it, to the left in the right half, and none over another."""
    figure.draw_without_rendering()
    to_points = axes.transData.transform
    middle, line = axes.bbox.x0 + axes.bbox.width * 0.55, figure.dpi / 72 * 10.5
    free = {True: float("inf"), False: float("inf")}
    for name, (x, y) in sorted(dots.items(), key=lambda item: -item[1][1]):
        at_x, at_y = to_points((x, y))
        right = at_x < middle
        text_y = free[right] = min(at_y, free[right] - line)
        axes.annotate(
            name, (x, y), xytext=(8 if right else -8, (text_y - at_y) * 72 / figure.dpi), textcoords="offset points",
            ha="left" if right else "right", va="center",
        )  # fmt: skip


def inline(figure: Figure, label: str) -> Markup:
    """The figure as an SVG element for the page, with `label` for those who cannot see it."""
    from markupsafe import Markup, escape

    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(out.getvalue())
    shapes = {shape.get("id", ""): shape for shape in root.iter() if shape.tag.endswith("}path")}
    drawn = _plain(root, shapes)
    text = "" if drawn is None else ET.tostring(drawn, "unicode")
    return Markup(text.replace("<svg", f'<svg class="drawn" role="img" aria-label="{escape(label)}"', 1))


def _plain(element: ET.Element, shapes: dict[str, ET.Element]) -> ET.Element | None:
    """The element without ids, links, style and what is not drawn."""
    name = element.tag.rpartition("}")[2]
    style = element.get("style", "")
    places = {key: element.get(key, "") for key in PLACES if key in element.attrib}
    if name == "use":
        shape = shapes[element.get("{http://www.w3.org/1999/xlink}href", "")[1:]]
        places = {"d": shape.get("d", ""), "transform": f"translate({places['x']} {places['y']})"}
        name, style = "path", f"{shape.get('style', '')}; {style}"
    if name not in SHAPES:
        return None
    painted = {key: _painted(value.strip()) for key, value in PAINTED.findall(style)}
    size = {"font-size": found[1]} if (found := SIZE.search(style)) else {}
    plain = ET.Element(name, {**places, **painted, **size})
    plain.text = element.text if name in ("text", "tspan") else None
    if (tip := element.get("id", "")).startswith("tip "):
        ET.SubElement(plain, "title").text = tip.removeprefix("tip ")
    plain.extend(inner for child in element if (inner := _plain(child, shapes)) is not None)
    return None if name == "g" and not len(plain) else plain


def _painted(value: str) -> str:
    return f"var(--{VARIABLES[value]})" if value in VARIABLES else value


def plain_text(text: str) -> str:
    """Text that matplotlib takes as text: no formulas, nothing that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")[:80]
