"""The tables of docs/benchmarks/real.md and its plot, from TABLE.json next to this file; its text is by hand."""

from __future__ import annotations

import re
from itertools import groupby, product
from pathlib import Path

from measured import How, Row, Table

from distill.report.plots import Panels, Point, panels_figure
from distill.report.svg import STYLE
from distill.store import read_json
from distill.tables import cell, markdown

NAMES = {"first_stage": "BM25", "untrained": "the base, untrained"}
SHOWN = ("AUC", "nDCG@10")
SIZE = re.compile(r"([\d,]+) varied queries")


def render(page: Path, folder: Path) -> None:
    """Replace what is between <!-- TABLE --> and <!-- end --> on the page; a table without figures says so."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- ([A-Z]) -->", text):
        made = read_json(folder / f"{name}.json")
        body = "Not made yet: no run is whole." if made is None else _tables(made["tables"])
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        text = before + mark + f"{body}\n" + rest[rest.index("<!-- end -->") :]
        if made is not None:
            draw(made["tables"], page.with_name(f"{page.stem}-{name}.svg"))
    page.write_text(text, encoding="utf-8")


def draw(tables: list[Table], file: Path) -> None:
    """Quality over the size of the varied set: a line a base, which is untrained at 0, and BM25's; no file without."""
    from matplotlib import rc_context

    panels: Panels = {}
    for table in tables:
        if table["set"] != "dl19" or not (size := SIZE.fullmatch(table["row"])):
            continue
        trained, depth = int(size[1].replace(",", "")), f"first {table['how']['depth']}"
        lines = {f"BM25's {depth}": ("first_stage",) * 2}
        lines[f"base {table['how']['base']}, {depth}"] = ("untrained", "direct")
        for measure, (name, ends) in product(SHOWN, lines.items()):
            points = panels.setdefault(f"{measure} on DL19", {}).setdefault(name, [])
            points += [_point(table, end, measure, x) for end, x in zip(ends, (0, trained), strict=True)]
    with rc_context(STYLE):
        if figure := panels_figure(panels, "varied training queries", "o-"):
            figure.savefig(file, metadata={"Date": None, "Creator": None})


def _point(table: Table, system: str, measure: str, x: int) -> Point:
    row = next(row for row in table["systems"] if row["system"] == system)
    return Point(x, row["measures"][measure], *row["intervals"][measure])


def _tables(tables: list[Table]) -> str:
    """Tables that were made in the same way have one line on it."""
    texts = []
    for line, same in groupby(tables, lambda table: _made(table["how"])):
        texts += [line, *map(_table, same)]
    return "\n\n".join(texts)


def _made(how: How) -> str:
    depth = f", {how['depth']} passages a query" if how["depth"] else ""
    settings = ", ".join(f"`{setting}`" for setting in how["settings"])
    return f"Base `{how['base']}`{depth}" + (f"; settings {settings}." if settings else ".")


def _table(table: Table) -> str:
    head = ["system", *SHOWN, "p against BM25", "p against untrained", "ECE", "tokens, s a pair", "training"]
    there, of = len(table["runs"]), table["how"]["of"]
    title = (
        f"**{table['row']}, tested on {table['set']}**: "
        + (f"{there} of {of} runs, " if there < of else f"{of} runs, " if of > 1 else "")
        + f"{table['queries']} queries, {table['pairs']:,} pairs; {table['hours']:g} hours"
        + (f", at most {table['peak_gib']:g} GiB." if table["peak_gib"] else ".")
    )
    return f"{title}\n\n{markdown(head, map(_cells, table['systems']))}"


def _cells(row: Row) -> list[str]:
    measure = "AUC" if "AUC" in row["measures"] else SHOWN[1]
    values = [_value(row, name) for name in SHOWN]
    tests = [_p(row[key].get(measure)) for key in ("p_first_stage", "p_untrained")]  # type: ignore[literal-required]
    ece = f"{row['ece']:.3f}" if "ece" in row else "–"
    cost = f"{row['tokens_per_pair']:.0f}, {row['seconds_per_pair']:.2f}" if "tokens_per_pair" in row else "–"
    trained = f"{row['rows']:,} rows, {row['training_minutes']:g} min" if "training_minutes" in row else "–"
    system = row["system"].removesuffix(".fused")
    shown = NAMES.get(system, system) + (", fused" if system != row["system"] else "")
    return [cell(shown), *values, *tests, ece, cost, trained]


def _value(row: Row, name: str) -> str:
    if name not in row["measures"]:
        return "–"
    low, high = row["intervals"][name]
    return f"{row['measures'][name]:.3f} [{low:.3f}, {high:.3f}]"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
