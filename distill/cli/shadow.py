"""`distill compare LOG`: how far a shadow student agrees with the one that answered. Called by `distill.cli.runs`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.tables import counted

if TYPE_CHECKING:
    from rich.console import Console

    from distill.rerank.serve.shadow_log import Disagreement

SHOWN = 200  # characters of a text


def compare_log(log: Path, console: Console) -> int:
    """Print both students' agreement, and the documents on which they differ most. Raises DataError for what is no log,
    or has no row."""
    from distill.rerank.serve.shadow_log import read_log, summaries

    if log.is_dir():
        raise DataError(f"{log}: is a folder; give two run folders, or the log of a shadow student")
    if not log.exists():
        raise DataError(f"{log}: no such file; `distill serve --shadow NAME=FOLDER --shadow-log {log}` writes one")
    found = summaries(list(read_log(log)))
    if not found:
        raise DataError(f"{log}: holds no judged request yet")
    for (model, shadow), summary in found.items():
        show = lambda text: console.print(text, markup=False, soft_wrap=True)  # noqa: E731
        left_out = f" ({summary.unjudged:,} not judged in time are left out)" if summary.unjudged else ""
        show(f"A {model}, which answered; B {shadow}, the shadow")
        show(f"{counted(summary.requests, 'request')}, {counted(summary.documents, 'document')}{left_out}")
        if summary.tau is not None:
            show(f"order: Kendall's tau {summary.tau:.3f}, the mean over requests")
        if summary.same_first is not None:
            show(f"the same best document: {summary.same_first:.0%} of the requests")
        show(f"scores: B - A {summary.mean_difference:+.3f} on average, {summary.mean_distance:.3f} apart")
        share = summary.crossed / summary.documents if summary.documents else 0
        show(f"relevant by one alone (a score from 0.5): {counted(summary.crossed, 'document')}, {share:.1%}")
        for each in summary.disagreements:
            show(_sentence(each))
    return 0


def _sentence(each: Disagreement) -> str:
    document, row = each.document, each.row
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.time))
    request = f"request {row.request_id}" if row.request_id else f"the request of {when} UTC"
    scores = f"A {document.score:.3f} ({document.mode}), B {document.shadow_score:.3f} ({document.shadow_mode})"
    texts = [f"\n    {text[:SHOWN]}" for text in (document.query, document.text) if text is not None]
    return f"  {scores}: document {each.index} of {request}{''.join(texts)}"
