"""From pairs to kept traces: the counts, what fell out and why, and whether it all adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distill.report.files import RunFiles
from distill.report.words import count
from distill.results import FilterCounts, StageCounts
from distill.tables import counted

TOP_REASONS = 8


@dataclass(frozen=True, slots=True)
class Check:
    """A sum that must hold, in words, and whether it does."""

    text: str
    holds: bool


def flow(files: RunFiles) -> StageCounts:
    """The filters' counts with those of the stages before; None is what no stage has counted."""
    pairs, asked, filtered = (files.counts(name) for name in ("pairs", "trace", "filter"))
    return replace(
        filtered,
        pairs=_known(pairs.pairs, pairs.rows),
        samples_due=_known(asked.samples_due, filtered.samples_due),
        answered=asked.answered,
        failed=_known(filtered.failed, asked.failed),
        not_asked=_known(filtered.not_asked, asked.not_asked),
    )


def _known(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def kept_share(counts: StageCounts) -> float | None:
    """Kept of all traces that the filters saw."""
    seen = (counts.kept or 0) + (counts.rejected or 0)
    return counts.kept / seen if counts.kept is not None and seen else None


def checks(files: RunFiles, counts: StageCounts) -> list[Check]:
    """Every sum that the counts allow to be checked, against one another and against the rows on disk."""
    by_split, by_filter = files.counts("pairs").by_split, counts.by_filter
    lost = [(counts.failed, "failed"), (counts.not_asked, "not asked")]
    filtered = [(counts.kept, "kept"), (counts.rejected, "rejected")]
    sums = (
        ("pairs", counts.pairs, [(rows, f"in {split}") for split, rows in by_split.items()]),
        ("samples due", counts.samples_due, [(counts.answered, "answered"), *lost]),
        ("samples due", counts.samples_due, [*filtered, *lost]),
        ("rejected", counts.rejected, [(of_filter.rejected, f"by {name}") for name, of_filter in by_filter.items()]),
    )
    made = [check for whole in sums if (check := _check(*whole))]
    for name, of_filter in by_filter.items():
        reasons = sum(of_filter.reasons.values())
        if reasons > of_filter.rejected:  # fewer is right: only the most frequent reasons are listed
            made.append(
                Check(f"{count(of_filter.rejected)} rejected by {name}, and {counted(reasons, 'reason')}", False)
            )
    for folder, expected in (("pairs", counts.pairs), ("kept", counts.kept), ("rejected", counts.rejected)):
        rows = files.rows_on_disk(folder)
        if rows is not None and expected is not None and rows != expected:
            made.append(Check(f"{folder}/ holds {counted(rows, 'row')}, {count(expected)} were counted", False))
    return made


def _check(name: str, whole: int | None, parts: Sequence[tuple[int | None, str]]) -> Check | None:
    known = [(number, what) for number, what in parts if number is not None]
    if whole is None or not parts or len(known) < len(parts):
        return None
    total, terms = sum(number for number, _ in known), " + ".join(f"{count(number)} {what}" for number, what in known)
    if total == whole:
        return Check(f"{count(whole)} {name} = {terms}", True)
    off = f"these make {count(total)}, {count(abs(whole - total))} off"
    return Check(f"{count(whole)} {name} ≠ {terms}: {off}", False)


def section(files: RunFiles) -> dict[str, Any] | None:
    """The steps with their shares, the losses by cause and reason, the sums; None before there are pairs."""
    counts = flow(files)
    if counts.pairs is None:
        return None
    pairs, samples = files.counts("pairs"), files.setting("teacher", "samples")
    by_split = ", ".join(f"{count(rows)} {split}" for split, rows in pairs.by_split.items())
    due = f"{samples} per pair of the train split" if samples else ""
    answered = ("Answered", counts.answered, "journalled as they arrived", "traces")
    not_asked: tuple[str, int, str, dict[str, int]] = (
        "Not asked",
        counts.not_asked or 0,
        "budget reached or interrupted",
        {},
    )
    if files.judged:
        due = "one a pair"
        answered = ("Answered", counts.answered, "the label is the answer, without reasoning", "traces")
        not_asked = ("Not answered", counts.not_asked or 0, "pairs without a label", {})
    steps = [
        ("Pairs", counts.pairs, by_split, "pairs"),
        ("Samples due", counts.samples_due, due, "pairs"),
        answered,
        ("Kept", counts.kept, "passed every filter; what the students learn from", "kept"),
    ]
    widest = max((number for _, number, _, _ in steps if number is not None), default=0) or 1
    kinds = {kind: number for kind, number in files.counts("trace").failures.items() if kind != "not_asked"}
    losses = [
        not_asked,
        ("Failed", counts.failed or 0, "refused for good by the endpoint", kinds),
        *((name, of_filter.rejected, "filter", of_filter.reasons) for name, of_filter in counts.by_filter.items()),
    ]
    return {
        "steps": [
            {"name": name, "n": number, "note": note, "width": 100 * number / widest, "href": files.link(folder)}
            for name, number, note, folder in steps
            if number is not None
        ],
        "losses": [(name, number, what, _reasons(reasons, number)) for name, number, what, reasons in losses if number],
        "nothing": [name for name, number, _, _ in losses if not number] if counts.kept is not None else [],
        "due": counts.samples_due or 0,
        "checks": checks(files, counts),
        "sources": _sources(pairs.by_source),
        "rounds": _rounds(files, counts),
        "decided": counts.decided,
        "rejected_href": files.link("rejected"),
    }


def _rounds(files: RunFiles, counts: StageCounts) -> list[str]:
    """A sentence for each earlier round: what its student learnt from, and what came of its judgement."""
    lines = []
    metrics = files.metrics
    for number, name in enumerate(("First", "Second", "Third"), 1):
        if f"round-{number}" not in metrics.stages or int(files.setting("rounds") or 1) <= number:
            continue
        made = metrics.counts(f"round-{number}")
        by_filter = metrics.counts(f"round-{number + 1}").by_filter or counts.by_filter
        lines.append(
            f"{name} round: {count(made.kept)} traces passed the filters and trained the student “{made.student}”, "
            f"which then contradicted {count(by_filter.get('self_filter', FilterCounts()).rejected)} of them."
        )
    return lines


def _reasons(reasons: dict[str, int], rejected: int) -> list[tuple[str, int]]:
    """The most frequent reasons, the rest as one line."""
    ranked = sorted(reasons.items(), key=lambda item: -item[1])[:TOP_REASONS]
    rest = rejected - sum(n for _, n in ranked)
    return ranked + ([("other reasons", rest)] if reasons and rest > 0 else [])


def _sources(by_source: dict[str, int]) -> list[tuple[str, int]]:
    """Pairs by source; `bm25:7` and `bm25:8`, which name a rank, are one."""
    total: Counter[str] = Counter()
    for name, n in by_source.items():
        total[name.partition(":")[0]] += n
    return total.most_common()
