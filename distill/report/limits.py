"""The section on limits: what the evaluation of this run cannot say, with its own figures. Called by `build`."""

from __future__ import annotations

from typing import Any

from distill.report.choice import grade, has_seeds
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.words import count, measure, percent, signed, system_label
from distill.results import UnjudgedCounts, read_as
from distill.tables import counted, counted_phrase

UNJUDGED = 0.02  # the share of a top from which it is said


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """Statements by set and of the run; None before anything was evaluated."""
    found = [{"name": each.name, "points": _of_set(files, each)} for each in sets if each.students]
    return {"sets": found, "points": _of_run(files, sets)} if found else None


def _of_set(files: RunFiles, each: EvaluationSet) -> list[tuple[str, str]]:
    """(what, why) of each limit that this set's figures show."""
    best = each.students[0]
    made = [("Small differences", text)] if (text := _resolution(each, best)) else []
    unjudged = each.unjudged(best)
    graded = (files.metrics.holes or {}).get(each.name)
    if graded is not None:
        made.append(("What the unjudged passages hide", _graded(read_as(UnjudgedCounts, graded), best)))
    elif unjudged is not None and unjudged > UNJUDGED:
        text = f"{percent(unjudged, 1)} of the top of {system_label(best)} was never judged and counts as not relevant."
        text += f" {grade(files)}" + (" It says how much these grades are worth." if files.can_ask else "")
        made.append(("Passages that nobody judged", text))
    if each.detail.left_out:
        text = "; ".join(counted_phrase(number, what) for what, number in each.detail.left_out.items())
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
        f"be distinguished from chance here (half the width of the paired interval)."
    )


def _graded(found: UnjudgedCounts, best: str) -> str:
    """What the grades of a set's unjudged passages change for the best student."""
    name = next(iter(found.before.get(best, {})), "")
    before, after = (values.get(best, {}).get(name) for values in (found.before, found.after))
    interval, agreement = found.error.get(best, {}).get(name), found.agreement
    if before is None or after is None:
        return "The unjudged passages were judged; this student is not among the systems that were there then."
    text = f"The teacher graded {count(found.graded)} unjudged passages: {name} of {system_label(best)} goes from "
    text += f"{measure(before)} to {measure(after)}"
    text += f", {measure(interval[0])} to {measure(interval[1])} with the teacher's errors" if interval else ""
    reason = found.not_estimated.get(best)
    text += f" (no interval: {reason})" if reason else ""
    if agreement.pairs:
        text += (
            f"; on {counted(agreement.pairs, 'judged passage')} it agrees with the judges in "
            f"{percent(agreement.relevant, 1)} "
            f"(kappa {agreement.kappa:.2f}, {signed(agreement.bias)} grades). A student of this teacher shares its bias"
        )
    return text + "."


def _ceiling(each: EvaluationSet) -> str:
    """How many relevant passages the lists hold that are reranked."""
    lists, whole = each.detail.listed.relevant, each.detail.listed.of
    if not whole or lists == whole:
        return ""
    return (
        f"The lists that were reranked hold {percent(lists, whole)} of the {count(whole)} relevant passages; no "
        "student could have found the others. Figures of rerankers on other lists are not comparable."
    )


def _of_run(files: RunFiles, sets: list[EvaluationSet]) -> list[tuple[str, str]]:
    made = []
    if not has_seeds(files):
        text = (
            "Every student was trained once. The intervals are over queries; another seed may move the figures as far. "
            "`ablate: {sft.seed: [0, 1, 2]}` or `distill evaluate --seeds RUN RUN RUN` shows how far."
        )
        made.append(("Luck in training", text))
    who = "the base model has" if files.judged else "the teacher or the base model has"
    if files.setting("teacher", "source") not in ("example", None):
        text = (
            f"Whether {who} seen these test sets in its own training is unknown; figures on "
            "public sets may be too good for that reason."
        )
        made.append(("Tests that may be known", text))
    if any(each.detail.kind == "beir" for each in sets):
        text = "These sets ask about relevance. Freshness, safety, fairness and cost of a search are not measured here."
        made.append(("Other qualities", text))
    return made
