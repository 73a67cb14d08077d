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

LONGEST_HOST = 40  # characters that are not broken
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
    run.say("looking at the data, the base model and this machine ...")
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
    _table(rows, name == "run")
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


def _table(rows: Sequence[StagePlan], whole: bool) -> None:
    """A row a stage, figures that some stage has, a total; below it what does not fit, and notes.

    `whole` says that a whole run is meant, which begins with its checks.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from distill.pipeline.dry_run import CHECKS_S

    terminal = sys.stdout.isatty()
    console = Console() if terminal else Console(width=WIDTH)
    due = [row for row in rows if row.due]
    figures = {
        "time": lambda row: _time(row.seconds, row.at_least),
        "USD": lambda row: _usd(row.usd, row.at_least and bool(row.usd)),
        "host GiB": lambda row: _gib(row.host_gib),
        "GPU GiB": lambda row: _gib(row.gpu_gib),
    }
    if not any(row.gpu_gib for row in due):
        del figures["GPU GiB"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("work")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    hosts = max((len(host) for row in due for host in row.sent_to), default=0)
    if hosts:
        table.add_column("texts go to", min_width=min(hosts, LONGEST_HOST), overflow="fold")
    for row in rows:
        style = "red" if row.problem else "" if row.due else "dim"
        cells = [cell(row) for cell in figures.values()] if row.due else ["" for _ in figures]
        sent_to = [Text("\n".join(row.sent_to) if row.due else "")] if hosts else []
        table.add_row(row.stage, "to do" if row.due else "unchanged", row.work, *cells, *sent_to, style=style)
    if len(rows) > 1 and due:
        table.add_section()
        table.add_row("total", "", "", *_totals(due, CHECKS_S if whole else 0)[: len(figures)], style="bold")
    console.print(table)
    for row in rows:
        if row.problem:
            console.print(
                f"{row.stage}: DOES NOT FIT: {row.problem}", style="red", markup=False, soft_wrap=not terminal
            )
    notes = list(dict.fromkeys(f"{row.stage.split(' ')[0]}: {row.note}" for row in due if row.note))
    if due:
        notes.append("Figures are estimates; a dash is not known, and is in no total. --json has their parts.")
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=not terminal)


def _totals(due: Sequence[StagePlan], more_s: float) -> list[str]:
    """Time, dollars, and the peaks of memory; "at least" where a part is not known, or may become more."""
    seconds = [row.seconds for row in due if row.seconds is not None]
    usd = [row.usd for row in due if row.usd is not None]
    parts = [(row.seconds or 0) / row.at_a_time for row in due]
    time = _time(sum(parts) + more_s, any(row.at_least or row.seconds is None for row in due)) if seconds else "–"
    open_ended = any((row.at_least and row.usd) or row.usd is None for row in due)
    cost = _usd(sum(usd), open_ended) if sum(usd) or not open_ended else "–"
    peaks = [_peak((row, gib) for row in due if (gib := of(row)) is not None) for of in (_host_gib, _gpu_gib)]
    return [time, cost, *map(_gib, peaks)]


def _host_gib(row: StagePlan) -> float | None:
    return row.host_gib


def _gpu_gib(row: StagePlan) -> float | None:
    return row.gpu_gib


def _peak(rows: Iterable[tuple[StagePlan, float]]) -> float | None:
    """The most GiB of a stage, whose largest rows go together, as many as `at_a_time` says; None of no rows."""
    stages: dict[str, list[float]] = {}
    together: dict[str, int] = {}
    for row, gib in rows:
        stage = row.stage.partition(" ")[0]
        stages.setdefault(stage, []).append(gib)
        together[stage] = row.at_a_time
    return max((sum(sorted(gibs)[-together[stage] :]) for stage, gibs in stages.items()), default=None)


def _time(seconds: float | None, at_least: bool = False) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return "at least 1 min" if at_least else "< 1 min"
    least = "at least " if at_least else ""
    if seconds < 7200:
        return f"{least}{seconds / 60:.0f} min"
    return least + (f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days")


def _usd(usd: float | None, at_least: bool = False) -> str:
    if usd is None:
        return "–"
    least = "at least " if at_least else ""
    return least + ("< 0.01" if 0 < usd < 0.01 and not at_least else f"{usd:,.2f}")


def _gib(gib: float | None) -> str:
    return "–" if gib is None else f"{gib:.1f}"
