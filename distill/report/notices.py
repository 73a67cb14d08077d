"""The notices at the top of the report: what a reader must know before believing the numbers. Called by `result`."""

from __future__ import annotations

from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.funnel import checks, kept_share
from distill.report.words import count, percent, system_label
from distill.results import StageCounts
from distill.stages import STAGES
from distill.tables import counted

FEW_KEPT = 0.5
FEW_QUERIES = 30
MANY_FAILED = 0.05
MANY_UNFINISHED = 0.05
MANY_UNPARSABLE = 0.1
Notice = tuple[str, str, str]
"""(level, title, text)."""


def notices(files: RunFiles, counts: StageCounts, sets: list[EvaluationSet]) -> list[Notice]:
    """What must be known before the numbers are quoted; level is `warn` or `note`."""
    made: list[Notice] = []
    states = {stage.title: files.state(stage.name) for stage in STAGES}
    missing, outdated = (
        ", ".join(title for title, s in states.items() if s == state) for state in ("missing", "outdated")
    )
    if missing:
        made.append(_warn("This report is partial", f"Not finished: {missing}. The same command goes on from there."))
    if outdated:
        text = f"{outdated}: made from inputs that have changed since. Run again before quoting them."
        made.append(_warn("Some numbers are of an earlier state", text))
    if broken := [check.text for check in checks(files, counts) if not check.holds]:
        made.append(_warn("The counts do not add up", "; ".join(broken) + "."))
    share = kept_share(counts)
    if share is not None and share < FEW_KEPT:
        made.append(_warn("Few traces were kept", _few_kept(counts)))
    due, failed = counts.samples_due, counts.failed
    if due and failed and failed / due > MANY_FAILED:
        text = f"{count(failed)} of {count(due)} requests failed for good; the samples below show why."
        made.append(_warn("Many requests failed", text))
    for each in sets:
        made += _forced(each)
        queries = len(each.detail.queries)
        if 0 < queries < FEW_QUERIES:
            text = f"{each.name} has {counted(queries, 'query')}: differences smaller than the intervals mean nothing."
            made.append(_warn("Few test queries", text))
    if files.setting("pairs", "source") == "example":
        text = (
            "The embedded example is a small invented world with a rule-based teacher and tiny students. It shows that "
            "the pipeline works from end to end; it says nothing about your domain."
        )
        made.append(("note", "This is a miniature", text))
    return made


def without_verdict(each: EvaluationSet) -> list[str]:
    """A sentence on each student many of whose answers have no verdict, on one set; `compare` says it too."""
    return [
        f"{name}: {percent(share, 1)} of its answers have no verdict; train longer (sft.training.max_steps) or with a "
        "higher learning rate."
        for name in each.students
        if (share := each.value(name, "unparsable") or 0.0) >= MANY_UNPARSABLE
    ]


def _warn(title: str, text: str) -> Notice:
    return "warn", title, text


def _forced(each: EvaluationSet) -> list[Notice]:
    """Of students many of whose verdicts were forced, and what helps: it depends on how the reasoning ended."""
    made = []
    for name in each.students:
        who = system_label(name)
        cut_off, ended = each.value(name, "unfinished") or 0.0, each.value(name, "no_end") or 0.0
        if cut_off > MANY_UNFINISHED:
            text = (
                f"{who} was cut off in {percent(cut_off, 1)} of its answers on {each.name}, and its verdict forced. "
                "Raise evaluation.max_new_tokens, or train longer."
            )
            made.append(_warn("Reasoning was cut off", text))
        if ended > MANY_UNFINISHED:
            text = (
                f"{who} ended its text before </think> in {percent(ended, 1)} of its answers on {each.name}, and its "
                "verdict was forced. Train longer; a higher evaluation.max_new_tokens does not help."
            )
            made.append(_warn("Reasoning ended without a verdict", text))
        repeated = each.value(name, "looped") or 0.0
        if repeated > MANY_UNFINISHED:
            text = (
                f"{who} began to repeat itself in {percent(repeated, 1)} of its answers on {each.name}; they were "
                "ended and their verdicts forced. Train longer, or on more varied traces."
            )
            made.append(_warn("Reasoning repeated itself", text))
    return made


def _few_kept(counts: StageCounts) -> str:
    kept, rejected = counts.kept or 0, counts.rejected or 0
    text = f"{count(kept)} of {count(kept + rejected)} ({percent(kept, kept + rejected)}) passed the filters."
    by_filter = {name: of_filter.rejected for name, of_filter in counts.by_filter.items()}
    if not any(by_filter.values()):
        return text
    worst = max(by_filter, key=lambda name: by_filter[name])
    text += f" {percent(by_filter[worst], rejected)} of the rejected fell to {worst}."
    if worst == "verdict_matches_label":
        text += (
            " The teacher's verdicts seldom agree with the labels: the teacher, the prompt or the labels do not fit "
            "this data, and what a student learns from the rest is doubtful."
        )
    return text
