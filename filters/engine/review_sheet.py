"""Writes the sheet of disputed labels and reads it filled in: a CSV and an HTML page, for `filters.label_dispute`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from html import escape
from pathlib import Path

from distill.errors import DataError
from distill.files.rows import rows
from distill.files.values import id_of, text_of
from distill.records import Pair, Trace

DECISIONS = ("accept", "reject", "relabel")
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
            verdicts = f"{traces[0].verdict} in {len(traces)} of {len(traces)}"
            ours = (pair.pair_id, "", pair.label, pair.label_origin, verdicts)
            table.writerow([_plain(cell) for cell in (*ours, pair.query, pair.passage, traces[0].reasoning)])
    head = (
        f"<h1>Disputed labels: {len(disputes)}</h1><p>Write accept (the label is right), reject (drop the pair) or "
        f"relabel (the teacher is right) into the column “decision” of {CSV}, name the file under "
        "<code>label_dispute: {policy: review, decisions: PATH}</code> and run the filters again."
    )
    articles = "".join(_article(number, *dispute) for number, dispute in enumerate(disputes, 1))
    (folder / HTML).write_text(_PAGE + head + articles, encoding="utf-8")


def read_decisions(path: Path) -> dict[str, str]:
    """{pair_id: decision} of a sheet; rows without a decision are undecided. Raises DataError with file and line."""
    decisions: dict[str, str] = {}
    for where, row in rows(path, "filters.label_dispute.decisions names it"):
        if not {"pair_id", "decision"} <= set(row):
            raise DataError(f"{where}: a sheet of decisions has the columns pair_id and decision")
        decision, pair_id = text_of(row["decision"], where).lower(), id_of(row["pair_id"], where)
        if decision and decision not in DECISIONS:
            raise DataError(f"{where}: {decision!r} is none of {', '.join(DECISIONS)}")
        if decision and pair_id and decisions.setdefault(pair_id, decision) != decision:
            raise DataError(f"{where}: {pair_id} is decided twice, first {decisions[pair_id]!r}; keep one")
    return decisions


def _article(number: int, pair: Pair, traces: Sequence[Trace]) -> str:
    samples = "".join(
        f"<h3>Sample {t.sample}: {t.verdict}</h3><blockquote>{escape(t.reasoning)}</blockquote>" for t in traces
    )
    query = escape(f"{pair.query} {pair.instruction or ''}".strip())
    name = escape(pair.pair_id)
    return (
        f'<article id="{name}"><h2>{number}. {query}</h2><p><code>{name}</code> · label {pair.label} '
        f"({escape(str(pair.label_origin))})<blockquote>{escape(pair.passage)}</blockquote>{samples}</article>"
    )


def _plain(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
