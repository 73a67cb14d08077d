"""The notices at the top of the report: what a reader must know before believing the numbers. Called by `result`."""

from __future__ import annotations

from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.funnel import Flow, checks
from distill.report.words import count, percent, system_label
from distill.stages import STAGES

FEW_KEPT = 0.5
FEW_QUERIES = 30
MANY_FAILED = 0.05
MANY_UNFINISHED = 0.05


def notices(files: RunFiles, found: Flow, sets: list[EvaluationSet]) -> list[tuple[str, str, str]]:
    """(level, title, text) of each notice; level is `warn` or `note`."""
    made: list[tuple[str, str, str]] = []
    states = {stage.title: files.state(stage.name) for stage in STAGES}
    missing = [title for title, state in states.items() if state == "missing"]
    outdated = [title for title, state in states.items() if state == "outdated"]
    if missing:
        text = f"Not finished: {', '.join(missing)}. The same command goes on from there."
        made.append(("warn", "This report is partial", text))
    if outdated:
        text = f"{', '.join(outdated)}: made from inputs that have changed since. Run again before quoting them."
        made.append(("warn", "Some numbers are of an earlier state", text))
    broken = [check.text for check in checks(files, found) if not check.holds]
    if broken:
        made.append(("warn", "The counts do not add up", "; ".join(broken) + "."))
    if found.kept_share is not None and found.kept_share < FEW_KEPT:
        made.append(("warn", "Few traces were kept", _few_kept(found)))
    if found.due and found.failed and found.failed / found.due > MANY_FAILED:
        text = f"{count(found.failed)} of {count(found.due)} requests failed for good; the samples below show why."
        made.append(("warn", "Many requests failed", text))
    for each in sets:
        made += _forced(each)
        queries = len(each.detail.queries)
        if 0 < queries < FEW_QUERIES:
            text = f"{each.name} has {queries} queries: differences smaller than the intervals mean nothing."
            made.append(("warn", "Few test queries", text))
    if files.setting("pairs", "source") == "example":
        text = (
            "The embedded example is a small invented world with a rule-based teacher and tiny students. It shows that "
            "the pipeline works from end to end; it says nothing about your domain."
        )
        made.append(("note", "This is a miniature", text))
    return made


def _forced(each: EvaluationSet) -> list[tuple[str, str, str]]:
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
            made.append(("warn", "Reasoning was cut off", text))
        if ended > MANY_UNFINISHED:
            text = (
                f"{who} ended its text before </think> in {percent(ended, 1)} of its answers on {each.name}, and its "
                "verdict was forced. Train longer; a higher evaluation.max_new_tokens does not help."
            )
            made.append(("warn", "Reasoning ended without a verdict", text))
    return made


def _few_kept(found: Flow) -> str:
    seen = (found.kept or 0) + (found.rejected or 0)
    text = f"{count(found.kept)} of {count(seen)} ({percent(found.kept or 0, seen)}) passed the filters."
    worst = found.worst_filter
    if worst is None:
        return text
    share = percent(found.by_filter[worst].rejected, found.rejected or 0)
    text += f" {share} of the rejected fell to {worst}."
    if worst == "verdict_matches_label":
        text += (
            " The teacher's verdicts seldom agree with the labels: the teacher, the prompt or the labels do not fit "
            "this data, and what a student learns from the rest is doubtful."
        )
    return text
