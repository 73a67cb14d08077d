"""What it took: tokens, money and time, stage by stage."""

from __future__ import annotations

from typing import Any

from distill.report.files import RunFiles
from distill.report.words import compact, count, duration, percent, usd
from distill.results import StageCounts
from distill.stages import STAGES


def section(files: RunFiles) -> dict[str, Any] | None:
    """Facts as (name, value, note) and the share of time by stage; None where nothing is known."""
    asked, kept = StageCounts() if files.judged else files.counts("trace"), files.counts("filter").kept
    facts: list[tuple[str, str, str]] = []
    answered = asked.answered or 0
    for tokens, name in ((asked.prompt_tokens, "Prompt tokens"), (asked.completion_tokens, "Completion tokens")):
        if tokens is not None:
            facts.append((name, compact(tokens), f"{count(tokens / answered)} an answer" if answered else ""))
    if asked.unpriced_tokens:
        facts.append(("Cost", "unknown", f"{count(asked.unpriced_tokens)} tokens have no price (teacher.prices)"))
    elif (cost := asked.cost_usd) is not None:
        facts.append(("Cost", usd(cost), "as billed, retries included"))
        unusable = asked.unusable_cost_usd or 0
        facts.append(("of it unusable", usd(unusable), f"{percent(unusable, cost)} of the cost"))
        if kept:
            facts.append(("Cost per 1,000 kept", usd(1000 * cost / kept), "what a training row costs"))
    if answered and asked.seconds:
        facts.append(("Teacher's pace", f"{count(answered / asked.seconds)} answers/s", "over the whole stage"))
    seconds = [(stage.title, files.counts(stage.name).seconds) for stage in STAGES]
    timed = [(title, s) for title, s in seconds if s is not None]
    total = sum(s for _, s in timed)
    if not facts and not total:
        return None
    return {
        "facts": facts,
        "total": duration(total),
        "times": [(title, duration(s), 100 * s / total if total else 0, percent(s, total)) for title, s in timed],
    }
