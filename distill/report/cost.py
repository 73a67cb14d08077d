"""What it took: tokens, money and time, stage by stage."""

from __future__ import annotations

from typing import Any

from distill.report.files import RunFiles
from distill.report.words import compact, count, duration, percent, usd
from distill.stages import STAGES


def section(files: RunFiles) -> dict[str, Any] | None:
    """Facts as (name, value, note) and the share of time by stage; None where nothing is known."""
    asked, kept = files.counts("trace"), files.counts("filter").get("kept")
    facts: list[tuple[str, str, str]] = []
    answered = asked.get("answered") or 0
    for key, name in (("prompt_tokens", "Prompt tokens"), ("completion_tokens", "Completion tokens")):
        if isinstance(n := asked.get(key), int | float):
            facts.append((name, compact(n), f"{count(n / answered)} an answer" if answered else ""))
    if isinstance(cost := asked.get("cost_usd"), int | float):
        facts.append(("Cost", usd(cost), "as billed, retries included"))
        unusable = asked.get("unusable_cost_usd") or 0
        facts.append(("of it unusable", usd(unusable), f"{percent(unusable, cost)} of the cost"))
        if kept:
            facts.append(("Cost per 1,000 kept", usd(1000 * cost / kept), "what a training row costs"))
    if answered and isinstance(seconds := asked.get("seconds"), int | float) and seconds > 0:
        facts.append(("Teacher's pace", f"{count(answered / seconds)} answers/s", "over the whole stage"))
    seconds = [(stage.title, files.counts(stage.name).get("seconds")) for stage in STAGES]
    timed = [(title, float(s)) for title, s in seconds if isinstance(s, int | float)]
    total = sum(s for _, s in timed)
    if not facts and not total:
        return None
    return {
        "facts": facts,
        "total": duration(total),
        "times": [(title, duration(s), 100 * s / total if total else 0, percent(s, total)) for title, s in timed],
    }
