"""What a refresh came to: the new student against the served one, and the answers that were reused. Called by `build`.

`refreshed` is also what the terminal says at the end of such a run.
"""

from __future__ import annotations

from typing import Any

from distill.report.files import RunFiles
from distill.report.words import count, measure, signed
from distill.results import RefreshResult
from distill.tables import counted

ADVICE = {
    "promote": "promote the new student",
    "keep": "keep the served student",
    "unsure": "unsure: the difference may be chance",
}


def section(files: RunFiles) -> dict[str, Any] | None:
    """The verdict with its figures, and the teacher's part; None where the run refreshes none."""
    result = files.metrics.refresh
    if result is None:
        return None
    due, reused = files.counts("trace").samples_due, files.metrics.stages.get("trace", {}).get("reused")
    return {
        "verdict": refreshed(result),
        "since": result.since,
        "rows": [(f"the served student, {result.system}", result.served), (f"the new {result.system}", result.new)],
        "measure": f"{result.measure} on {result.set}",
        "answers": f"{count(reused)} of {count(due)} answers were reused" if isinstance(reused, int) and due else "",
    }


def refreshed(result: RefreshResult) -> str:
    """The verdict in a sentence."""
    p = "p < 0.001" if result.p < 0.001 else f"p = {result.p:.3f}"
    return (
        f"{ADVICE[result.verdict]}: {result.measure} on {result.set} {measure(result.new)} against "
        f"{measure(result.served)}, {signed(result.difference)} [{signed(result.low)} to {signed(result.high)}], {p} "
        f"over {counted(result.queries, 'query')}, paired"
    )
