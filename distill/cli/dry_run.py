"""`--dry-run` on the terminal: one table, a row a stage, and a total; with --json everything. Called by distill.cli."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.pipeline.dry_run import DryRun, StagePlan
    from distill.pipeline.run import Run

WIDTH = 120  # characters, where there is no terminal


def show(name: str, run: Run, as_json: bool) -> int:
    """Say what `distill NAME` would do; nothing is sent or made. Raises ConfigError for what cannot be right."""
    from distill.pipeline import cluster
    from distill.pipeline.check import warnings
    from distill.pipeline.dry_run import DryRun
    from distill.pipeline.stage import plan
    from distill.pipeline.stages import stages_of
    from distill.pipeline.variants import variants
    from distill.ray_cluster import on_cluster

    stages = stages_of(run.config)
    found = warnings(run, lambda: {stage for stage, due in plan(run, stages) if due and name in ("run", stage)})
    for warning in found:
        print(f"distill: warning: {warning}", file=sys.stderr)
    due = dict(plan(run, stages))
    dry_run = DryRun(run)
    rows = dry_run.stages({stage: is_due for stage, is_due in due.items() if name in ("run", stage)})
    labels = [variant.label for variant in variants(run.config)] if name == "run" else []
    if as_json:
        print(_json(name, run, dry_run, rows, due, labels, found))
        return 0
    _table(rows)
    if name == "run":
        print(*cluster.lines(run), sep="\n")
        if on_cluster():
            print(cluster.files_line(run))
    for label in labels:
        print(f"ablation: {label}")
    return 0


def _json(
    name: str, run: Run, dry_run: DryRun, rows: Sequence[StagePlan], due: dict[str, bool], labels: list[str],
    found: list[str],
) -> str:  # fmt: skip
    values = {
        "config": json.loads(run.config.model_dump_json(exclude_none=True)),
        "due": due,
        "stages": [asdict(row) for row in rows],
        "ablation": labels,
        "teacher": dry_run.teacher_lines() if name in ("run", "trace") else [],
        "sft": dry_run.training_lines() if name in ("run", "sft") else [],
        "warnings": found,
    }
    return json.dumps(values, indent=2, ensure_ascii=False)


def _table(rows: Sequence[StagePlan]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("work")
    for name in ("time", "USD", "host GiB", "GPU GiB"):
        table.add_column(name, justify="right")
    table.add_column("texts are sent to", overflow="fold")
    for row in rows:
        style = "red" if row.problem else "" if row.due else "dim"
        figures = [_time(row.seconds), _usd(row.usd), _gib(row.host_gib), _gib(row.gpu_gib)]
        if not row.due:
            figures = [""] * 4
        sent = ", ".join(row.sent_to) if row.due else ""
        table.add_row(row.stage, "to do" if row.due else "unchanged", row.work, *figures, Text(sent), style=style)
    if len(rows) > 1:
        due = [row for row in rows if row.due]
        table.add_section()
        table.add_row(
            "total", "", "", _time(_sum(row.seconds for row in due)), _usd(_sum(row.usd for row in due)),
            _gib(_most(row.host_gib for row in due)), _gib(_most(row.gpu_gib for row in due)), style="bold",
        )  # fmt: skip
    console.print(table)
    for row in rows:
        if row.problem:
            console.print(f"{row.stage}: DOES NOT FIT: {row.problem}", style="red", markup=False, soft_wrap=True)
    notes = list(dict.fromkeys(f"{row.stage.split(' ')[0]}: {row.note}" for row in rows if row.due and row.note))
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)
    if any(row.due for row in rows):
        console.print(
            "Figures are estimates; a dash is not known, and is in no total. --json has their parts.",
            style="dim",
            highlight=False,
        )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return "< 1 min"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _usd(usd: float | None) -> str:
    if usd is None:
        return "–"
    return "< 0.01" if 0 < usd < 0.01 else f"{usd:,.2f}"


def _gib(gib: float | None) -> str:
    return "–" if gib is None else f"{gib:.1f}"
