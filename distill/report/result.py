"""The top of the report: what was run, the result in a sentence that the numbers bear out, and what to be wary of."""

from __future__ import annotations

from typing import Any

from distill.report.choice import choice, grade, lights, most_unjudged, undecided
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.funnel import flow, kept_share
from distill.report.notices import notices, without_verdict
from distill.report.plots import quality_and_cost
from distill.report.words import (
    count,
    duration,
    interval_text,
    measure,
    percent,
    signed,
    system_label,
    system_phrase,
    usd,
)
from distill.results import StageCounts
from distill.stages import STAGES
from distill.tables import counted

FEW_JUDGED = 3  # judged passages a query: any order of fewer is close to the best one
DISPUTES = ("verdict_matches_label", "label_dispute")  # filters whose rejects a person can decide


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any]:
    """Title, sentences, what to ship, the chart, how far to trust it, tiles, the state of each stage, and notices."""
    counts, main = flow(files), main_set(sets)
    title, sentences = headline(files, sets)
    written = [m.get("written", "") for m in files.manifests.values()]
    return {
        "name": files.name,
        "config": files.as_config,
        "written": max(written, default=""),
        "title": title,
        "sentences": [*sentences, *_what_was_run(files, counts)],
        "choice": choice(files, main) if main else None,
        "lights": lights(files, main) if main else [],
        "look": look_at(files, main) if main else [],
        "chart": quality_and_cost(main) if main else None,
        "priced": main is None or main.usd_per_hour is not None,
        "tiles": _tiles(files, counts, sets),
        "stages": [
            {"title": stage.title, "state": files.state(stage.name), "seconds": files.counts(stage.name).seconds}
            for stage in STAGES
        ],
        "notices": notices(files, counts, sets),
    }


def headline(files: RunFiles, sets: list[EvaluationSet]) -> tuple[str, list[str]]:
    """The result as a title, and what qualifies it; says that there is none where nothing was evaluated."""
    main = main_set(sets)
    if main is None:
        done = sum(files.state(stage.name) == "done" for stage in STAGES)
        return f"No result yet: {done} of {len(STAGES)} stages are done.", []
    best, primary = main.students[0], main.primary or ""
    value, first = measure(main.value(best)), measure(main.value("first_stage"))
    gain = main.difference("first_stage", best)
    subject = _capital(system_phrase(best))
    if main.value("first_stage") is None:
        title = f"{subject} reaches {primary} {value} on {main.name}."
    elif gain is None:
        title = f"{subject} reaches {primary} {value} on {main.name}; the first stage has {first}."
    elif gain.low > 0:
        title = f"{subject} lifts {primary} on {main.name} from {first} to {value}."
    elif gain.high < 0:
        title = f"No student beats the first stage on {main.name}: {primary} {value} at best, against {first}."
    else:
        title = f"No clear gain on {main.name}: {primary} {value} at best, against {first} of the first stage."
    said = [text for rival in main.rivals if (text := _compared(main, rival, best))]
    sentences = []
    if said:
        queries = counted(max(len(d.values) for rival in main.rivals if (d := main.difference(rival, best))), "query")
        sentences = [f"{subject} is {' and '.join(said)}, over {queries} (95\u00a0% intervals in brackets)."]
    sentences += without_verdict(main)
    if not undecided(files, main):
        return title, sentences
    name, share = most_unjudged(main)
    unsure = f"Not decided on {main.name}: {percent(share, 1)} of the top of {system_label(name)} was never judged."
    return unsure, [
        f"{title} That counts what nobody judged as not relevant.{_judged_only(main)} {grade(files)}",
        *sentences,
    ]


def _judged_only(main: EvaluationSet) -> str:
    """The comparison among judged passages alone, as a sentence; "" where it was not measured."""
    name = main.judged_only
    values = {system: value for system in main.students if (value := main.value(system, name)) is not None}
    if name is None or not values:
        return ""
    best = max(values, key=lambda system: values[system])
    text = f" Among judged passages alone, {system_phrase(best)} has {measure(values[best])}"
    first, gain = main.value("first_stage", name), main.difference("first_stage", best, name)
    if first is not None:
        text += f" against {measure(first)} of the first stage"
    if gain is not None:
        unclear = ", no clear difference" if gain.low <= 0 <= gain.high else ""
        text += f" ({signed(gain.low)} to {signed(gain.high)}{unclear})"
    judged = sum(map(len, main.detail.qrels.values())) / len(main.detail.qrels) if main.detail.qrels else FEW_JUDGED
    return f"{text}." + (f" With {judged:.1f} judged passages a query that says little." if judged < FEW_JUDGED else "")


def look_at(files: RunFiles, main: EvaluationSet) -> list[str]:
    """What a person should read: the queries that became worse, the traces in which teacher and label differ."""
    gain = main.difference("first_stage", main.students[0])
    worse = gain.losses if gain is not None else 0
    sentences = [f"{counted(worse, 'query')} became worse than the first stage."] if worse else []
    by_filter = files.counts("filter").by_filter
    disputes = sum(by_filter[name].rejected for name in DISPUTES if name in by_filter)
    if disputes:
        text = f"Teacher and label differ in {counted(disputes, 'trace')}: `distill view {files.run}` shows them first."
        sentences.append(text)
    return sentences


def main_set(sets: list[EvaluationSet]) -> EvaluationSet | None:
    """The set that the headline speaks of."""
    return next((each for each in sets if each.students and each.primary), None)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _compared(main: EvaluationSet, left: str, right: str) -> str | None:
    gain = main.difference(left, right)
    if gain is None:
        return None
    interval = f"[{signed(gain.low)} to {signed(gain.high)}]"
    if gain.low > 0:
        return f"{measure(gain.mean)} ahead of {system_phrase(left)} {interval}"
    if gain.high < 0:
        return f"{measure(-gain.mean)} behind {system_phrase(left)} {interval}"
    return f"within chance of {system_phrase(left)} ({signed(gain.mean)} {interval})"


def _what_was_run(files: RunFiles, counts: StageCounts) -> list[str]:
    """One sentence on teacher, traces and students."""
    parts = []
    if counts.kept is not None and counts.samples_due:
        what = "judged pairs" if files.judged else "reasoning traces"
        parts.append(f"{count(counts.kept)} of {count(counts.samples_due)} {what} were kept for training")
    elif counts.answered is not None:
        parts.append(f"the teacher answered {counted(counts.answered, 'time')}")
    base = files.setting("sft", "base")
    students = files.counts("sft").students
    if students:
        made = "made from scratch" if base == "scratch" else f"trained from {base}"
        noun = "student was" if len(students) == 1 else "students were"
        parts.append(f"{len(students)} {noun} {made}")
    return [_capital(", and ".join(parts)) + "."] if parts else []


def _tiles(files: RunFiles, counts: StageCounts, sets: list[EvaluationSet]) -> list[tuple[str, str, str]]:
    """(value, label, note) of the few numbers that are shown large."""
    tiles: list[tuple[str, str, str]] = []
    main = main_set(sets)
    if main:
        best = main.students[0]
        interval = main.interval(best, main.primary or "")
        note = f"{system_label(best)}, {main.name}" + (f" · {interval_text(interval, 'to')}" if interval else "")
        tiles.append((measure(main.value(best)), main.primary or "", note))
        for rival in main.rivals:
            if gain := main.difference(rival, best):
                words = f"{count(gain.wins)} better, {count(gain.losses)} worse, {count(gain.ties)} equal"
                tiles.append((signed(gain.mean), f"over {system_label(rival).lower()}", words))
    if kept_share(counts) is not None and counts.kept is not None and counts.rejected is not None:
        seen = counts.kept + counts.rejected
        tiles.append(
            (
                percent(counts.kept, seen),
                f"of {'judged pairs' if files.judged else 'traces'} kept",
                f"{count(counts.kept)} of {count(seen)}",
            )
        )
    asked = files.counts("trace")
    cost = asked.cost_usd
    if asked.unpriced_tokens:
        tiles.append(("unknown", "teacher cost", f"{count(asked.unpriced_tokens)} tokens have no price"))
    elif cost is not None and not files.judged:
        per = f"{usd(1000 * cost / counts.kept)} per 1,000 kept" if counts.kept and cost else "teacher, as billed"
        tiles.append((usd(cost), "teacher cost", per))
    if total := sum(files.counts(stage.name).seconds or 0 for stage in STAGES):
        tiles.append((duration(total), "from pairs to result", "sum over the stages"))
    return tiles
