"""A figure of matplotlib as SVG in the page's own colours, and the style in which the report's figures are drawn.

The page forbids style attributes, links and sources, and has a light and a dark mode: so `inline` writes the style as
plain attributes, the colours as the style sheet's variables, and a shape that is used several times in each place.
Called by `plots`; `figures`, whose files are for papers, shares the colours.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# The style sheet's --c0 to --c9 in light mode, which print well and differ for most eyes; then --soft, --line, --win
# and --loss.
PAINT = (
    "#85817a", "#b5b0a6", "#c9772b", "#0b7a75", "#5b5fc7", "#b0467f", "#6d8b1f", "#2f7fbd", "#8c5a3c", "#4a4a4a",
)  # fmt: skip
SOFT, GRID, WIN, LOSS = "#65625a", "#e3dfd4", "#14735b", "#b3422c"
NAMED = {SOFT: "soft", GRID: "line", WIN: "win", LOSS: "loss"}
VARIABLES = {**{colour: f"c{number}" for number, colour in enumerate(PAINT)}, **NAMED}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "distill", "font.size": 9, "font.family": "sans-serif",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip
ON_PAGE: dict[Any, Any] = {
    **STYLE, "text.color": SOFT, "axes.labelcolor": SOFT, "axes.edgecolor": SOFT, "xtick.color": SOFT,
    "ytick.color": SOFT, "figure.facecolor": "none", "axes.facecolor": "none", "legend.labelcolor": SOFT,
}  # fmt: skip
SHAPES = ("svg", "g", "path", "text", "tspan")
PLACES = ("viewBox", "d", "x", "y", "transform")
PAINTED = re.compile(r"(fill|stroke|stroke-width|stroke-dasharray|stroke-linecap|opacity|text-anchor): ([^;]+)")
SIZE = re.compile(r"font(?:-size)?: (?:\d+ )?([\d.]+)px")
NUMBER = re.compile(r"-?\d+\.\d+")


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
    places = {key: NUMBER.sub(_shorter, " ".join(value.split())) for key, value in places.items()}
    painted = {key: _painted(value.strip()) for key, value in PAINTED.findall(style)}
    size = {"font-size": found[1]} if (found := SIZE.search(style)) else {}
    plain = ET.Element(name, {**places, **painted, **size})
    plain.text = element.text if name in ("text", "tspan") else None
    if (tip := element.get("id", "")).startswith("tip "):
        ET.SubElement(plain, "title").text = tip.removeprefix("tip ")
    plain.extend(inner for child in element if (inner := _plain(child, shapes)) is not None)
    return None if name == "g" and not len(plain) else plain


def _shorter(number: re.Match[str]) -> str:
    """A place to a hundredth of a point."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _painted(value: str) -> str:
    return f"var(--{VARIABLES[value]})" if value in VARIABLES else value


def plain_text(text: str) -> str:
    """Text that matplotlib takes as text: no formulas, nothing that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")[:80]
