"""Disputed labels on paper: a CSV to fill in, and an HTML page to read beside it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path

from distill.records import Pair, Trace

CSV, HTML = "disputes.csv", "disputes.html"
COLUMNS = ("pair_id", "decision", "label", "label_origin", "teacher", "query", "passage", "reasoning")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Disputed labels</title>
<style>
  body { font: 16px/1.5 system-ui; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
  article { border-top: 1px solid #8888; padding: 1rem 0 }
  blockquote { margin: .5rem 0; padding-left: 1rem; border-left: 3px solid #8888; white-space: pre-wrap }
  blockquote, code { overflow-wrap: anywhere }
</style>
"""


def write_review_sheet(folder: Path, disputes: Sequence[tuple[Pair, Sequence[Trace]]]) -> None:
    """`disputes.csv` and `disputes.html` in `folder`. In the CSV, cells that a spreadsheet would run begin with '."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / CSV, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for pair, traces in disputes:
            said = f"{traces[0].verdict} in {len(traces)} of {len(traces)}"
            cells = (
                pair.pair_id,
                "",
                pair.label,
                pair.label_origin,
                said,
                pair.query,
                pair.passage,
                traces[0].reasoning,
            )
            table.writerow([_plain(cell) for cell in cells])
    head = (
        f"<h1>Disputed labels: {len(disputes)}</h1><p>Write accept (the label is right), reject (drop the pair) or "
        f"relabel (the teacher is right) into the column “decision” of {CSV}, name the file under "
        "<code>label_dispute: {policy: review, decisions: PATH}</code> and run the filters again."
    )
    articles = "".join(_article(number, *each) for number, each in enumerate(disputes, 1))
    (folder / HTML).write_text(_PAGE + head + articles, encoding="utf-8")


def _article(number: int, pair: Pair, traces: Sequence[Trace]) -> str:
    said = "".join(
        f"<h3>Sample {t.sample}: {t.verdict}</h3><blockquote>{escape(t.reasoning)}</blockquote>" for t in traces
    )
    asked = escape(f"{pair.query} {pair.instruction or ''}".strip())
    name = escape(pair.pair_id)
    return (
        f'<article id="{name}"><h2>{number}. {asked}</h2><p><code>{name}</code> · label {pair.label} '
        f"({escape(str(pair.label_origin))})<blockquote>{escape(pair.passage)}</blockquote>{said}</article>"
    )


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
