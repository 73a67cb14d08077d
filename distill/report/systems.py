"""The systems side by side: dot and whisker for each measure that has an interval, and the table of all measures."""

from __future__ import annotations

from itertools import islice
from typing import Any

from distill.report.choice import seconds as latency
from distill.report.evaluated import JUDGED_ONLY, EvaluationSet
from distill.report.files import RunFiles
from distill.report.plots import whiskers
from distill.report.words import (
    LOWER_IS_BETTER,
    MEANINGS,
    colours,
    count,
    href,
    interval_text,
    measure_label,
    safe_name,
    system_label,
    usd,
)
from distill.results import SetCounts

JUDGED_QUALITY = ("verdict_accuracy", "ECE", "Brier")
# Of these less or more is a price, not a merit.
NOT_BETTER = ("tokens_per_pair", "pairs_per_s", "unfinished", "no_end", "looped", "unparsable", "fusion_weight")
JUDGED_BY_STUDENT = (*JUDGED_QUALITY, *NOT_BETTER)
MAX_PANELS = 4


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """Panels and tables by set; None before anything was evaluated."""
    return {"sets": [_one(files, each) for each in sets]} if sets else None


def _one(files: RunFiles, each: EvaluationSet) -> dict[str, Any]:
    order, paint = each.order, colours(each.order)
    names = list(dict.fromkeys(m for system in order for m in each.measures[system]))
    names.sort(key=lambda name: (name != each.primary, name in JUDGED_BY_STUDENT))
    counted = files.counts("evaluate").sets.get(each.name, SetCounts())
    panels = ((measure_label(name), chart) for name in _drawn(each, names) if (chart := whiskers(each, name)))
    sizes = ((counted.queries, "queries"), (counted.pairs, "pairs"))
    chosen_on = each.name == files.setting("evaluation", "calibrate_on")
    parts = [f"{count(n)} {what}" for n, what in sizes if n is not None]
    return {
        "name": each.name,
        "size": ", ".join([*parts, *(["what calibration and fusion were chosen on"] if chosen_on else [])]),
        "panels": list(islice(panels, MAX_PANELS)),
        "tables": [_table(files, each, title, group, paint) for title, group in _tables(each, names)],
        "picked": len(each.students) > 1,
        "metrics_href": files.link("metrics.json"),
        "tested": any(each.detail.tests.get(system, {}).get(name) for system in order for name in names),
        "downloads": files.links(_downloads(each.name)) if safe_name(each.name) else [],
    }


def _tables(each: EvaluationSet, names: list[str]) -> list[tuple[str, list[str]]]:
    """(title, measures) of two tables, each narrow enough for a page; what was no fault of any system is left out."""
    quality = [name for name in names if name not in NOT_BETTER]
    health = [name for name in names if name in NOT_BETTER and any(each.value(system, name) for system in each.order)]
    return [(title, group) for title, group in (("Quality", quality), ("Cost and health", health)) if group]


def _table(files: RunFiles, each: EvaluationSet, title: str, group: list[str], paint: dict[str, int]) -> dict[str, Any]:
    """The rows of one table; that of the costs has the time of a query and its price in addition."""
    known = [system for system in each.order if any(each.value(system, name) is not None for name in group)]
    costs = []
    if title != "Quality" and any(each.seconds_a_query(system) for system in known):
        costs = ["time of a query", *(["USD per 1,000 queries"] if each.usd_per_hour else [])]
    rows = [
        {
            "system": system,
            "meaning": _meaning(files, each, system),
            "colour": paint[system],
            "cells": [_cell(files, each, system, name) for name in group],
            "costs": [latency(each.seconds_a_query(system)), usd(each.usd_a_thousand(system))][: len(costs)],
        }
        for system in known
    ]
    return {"title": title, "measures": group, "costs": costs, "rows": rows}


def _drawn(each: EvaluationSet, names: list[str]) -> list[str]:
    """The measures to draw: one over judged passages only where it says something else than the measure itself."""
    values = {name: [each.value(system, name) for system in each.order] for name in names}
    whole = {name: name.replace(JUDGED_ONLY, "") for name in names}
    return [name for name in names if whole[name] == name or values[name] != values.get(whole[name])]


def _meaning(files: RunFiles, each: EvaluationSet, system: str) -> str:
    if system != "first_stage":
        if system.endswith(".fused"):
            return "fused with the first stage, by the weight in the column “fusion weight”"
        students = files.counts("sft").students
        if system in students and (method := students[system].method):
            start = max((name for name in students if system.startswith(f"{name}_")), key=len, default=system)
            return f"“{system_label(start)}”, trained further on its own answers by {method}"
        return MEANINGS.get(system) or MEANINGS.get(students[system].target if system in students else "", "")
    for one in files.setting("evaluation", "sets") or []:
        if isinstance(one, dict) and one.get("name") == each.name:
            depth = f", the top {one['depth']} of each query" if "depth" in one else ""
            return f"{_lists(one.get('first_stage') or 'given')}{depth}"
    return ""


def _lists(first_stage: str | dict[str, str | None]) -> str:
    """A first stage in words."""
    if isinstance(first_stage, str):
        return first_stage
    hybrid = first_stage.get("hybrid")
    return f"BM25 and {hybrid}, fused by reciprocal ranks" if hybrid else str(first_stage.get("retriever"))


def _cell(files: RunFiles, each: EvaluationSet, system: str, name: str) -> dict[str, Any]:
    """A value with its interval, whether it is the best, and the file that it was computed from."""
    value, interval = each.value(system, name), each.interval(system, name)
    values = [v for other in each.order if (v := each.value(other, name)) is not None]
    best = len(set(values)) > 1 and value == (min(values) if name in LOWER_IS_BETTER else max(values))
    test = each.detail.tests.get(system, {}).get(name)
    return {
        "test": test,
        "value": value,
        "interval": interval_text(interval),
        "best": best
        and name not in NOT_BETTER
        and (name in JUDGED_QUALITY or (interval is not None and not name.startswith("Judged@"))),
        "href": _evidence(files, each.name, system, name) if value is not None else None,
    }


def _downloads(name: str) -> list[tuple[str, str, str]]:
    """(what it is, folder, file) of the figures and tables of a set."""
    figures = (("figure", name), ("against tokens", f"{name}-tokens"))
    wanted = [(f"{what} ({kind})", "figures", f"{stem}.{kind}") for what, stem in figures for kind in ("svg", "png")]
    return [*wanted, ("table (LaTeX)", "evaluation", f"{name}.tex"), ("table (Markdown)", "evaluation", f"{name}.md")]


def _evidence(files: RunFiles, set_name: str, system: str, name: str) -> str | None:
    """The run file behind a value: the ranking, or the student's judgements."""
    stem = f"{set_name}.{system}"
    if not safe_name(stem):
        return None
    if name in JUDGED_BY_STUDENT:
        shards = sorted((files.run / "evaluation" / stem).glob("*.parquet"))
        return href("evaluation", stem, shards[0].name) if shards else None
    return files.link("evaluation", f"{stem}.trec")
