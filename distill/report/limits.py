"""The honest box: what the evaluation of this run cannot say, with its own figures."""

from __future__ import annotations

from typing import Any

from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.words import count, measure, percent, signed, system_label

FEW_JUDGED = 0.98
SEEDS = ("seed", "sft.seed")


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """Statements by set and of the run; None before anything was evaluated."""
    found = [{"name": each.name, "points": _of_set(files, each)} for each in sets if each.students]
    return {"sets": found, "points": _of_run(files, sets)} if found else None


def _of_set(files: RunFiles, each: EvaluationSet) -> list[tuple[str, str]]:
    """(what, why) of each limit that this set's figures show."""
    best = each.students[0]
    made = [("Small differences", text)] if (text := _resolution(each, best)) else []
    judged = each.value(best, next((m for m in each.measures[best] if m.startswith("Judged@")), "Judged@10"))
    holes = (files.metrics.get("holes") or {}).get(each.name)
    if isinstance(holes, dict):
        made.append(("What the unjudged passages hide", _holes(holes, best)))
    elif judged is not None and judged < FEW_JUDGED:
        text = (
            f"{percent(1 - judged, 1)} of the top of {system_label(best)} was never judged and counts as not relevant. "
            "`distill evaluate CONFIG --judge-unjudged` has the teacher grade it, and says how much that is worth."
        )
        made.append(("Passages that nobody judged", text))
    left_out = each.detail.get("left_out")
    if isinstance(left_out, dict) and left_out:
        text = "; ".join(f"{count(number)} {what}" for what, number in left_out.items() if isinstance(number, int))
        made.append(("What was left out", f"{text}."))
    if text := _ceiling(each):
        made.append(("What the first stage missed", text))
    if len(each.students) > 1:
        text = (
            f"The best of {len(each.students)} students was picked on this very set, which flatters it; the tests "
            "correct for the number of systems, not for the choice."
        )
        made.append(("A choice made on the test", text))
    return made


def _resolution(each: EvaluationSet, best: str) -> str:
    gap = next((d for rival in each.rivals if (d := each.difference(rival, best))), None)
    if gap is None:
        return ""
    wide = (gap.high - gap.low) / 2
    return (
        f"With {count(len(gap.values))} units a difference of less than about {measure(wide)} in {each.primary} cannot "
        f"be told from chance here (half the width of the paired interval)."
    )


def _holes(holes: dict[str, Any], best: str) -> str:
    name = next(iter(holes.get("before", {}).get(best, {})), "")
    before, after = (holes.get(when, {}).get(best, {}).get(name) for when in ("before", "after"))
    bar = holes.get("error", {}).get(best, {}).get(name)
    known = holes.get("agreement", {})
    if before is None or after is None:
        return "The unjudged passages were judged; this student is not among the systems that were there then."
    text = (
        f"The teacher graded {count(holes.get('graded'))} unjudged passages: {name} of {system_label(best)} goes from "
    )
    text += f"{measure(before)} to {measure(after)}"
    text += f", {measure(bar[0])} to {measure(bar[1])} with the teacher's errors" if bar else ""
    reason = holes.get("not_estimated", {}).get(best)
    text += f" (no interval: {reason})" if reason else ""
    if known.get("pairs"):
        text += (
            f"; on {known['pairs']} judged passages it agrees with the judges in {percent(known['relevant'], 1)} "
            f"(kappa {known['kappa']:.2f}, {signed(known['bias'])} grades). A student of this teacher shares its taste"
        )
    return text + "."


def _ceiling(each: EvaluationSet) -> str:
    """How many relevant passages the lists hold that are reranked."""
    lists = (each.detail.get("listed") or {}).get("relevant")
    whole = (each.detail.get("listed") or {}).get("of")
    if not isinstance(lists, int) or not isinstance(whole, int) or not whole or lists == whole:
        return ""
    return (
        f"The lists that were reranked hold {percent(lists, whole)} of the {count(whole)} relevant passages; no "
        "student could have found the others. Figures of rerankers on other lists are not comparable."
    )


def _of_run(files: RunFiles, sets: list[EvaluationSet]) -> list[tuple[str, str]]:
    made = []
    ablated = files.config.get("ablate") or []
    seeds = any(key in SEEDS for grid in ablated if isinstance(grid, dict) for key in grid)
    if not seeds:
        text = (
            "Every student was trained once. The intervals are over queries; another seed may move the figures as far. "
            "`ablate: {sft.seed: [0, 1, 2]}` or `distill evaluate --seeds RUN RUN RUN` shows how far."
        )
        made.append(("Luck in training", text))
    if files.setting("teacher", "source") not in ("example", None):
        text = (
            "Whether the teacher or the base model has seen these test sets in its own training is unknown; figures on "
            "public sets may be too good for that reason."
        )
        made.append(("Tests that may be known", text))
    if any((each.detail.get("kind") or "beir") == "beir" for each in sets):
        text = "These sets ask about relevance. Freshness, safety, fairness and cost of a search are not measured here."
        made.append(("Other qualities", text))
    return made
