"""From pairs to kept traces: the counts, what fell out and why, and whether it all adds up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from distill.report.files import RunFiles
from distill.report.words import count
from distill.results import FilterCounts

TOP_REASONS = 8


@dataclass(frozen=True, slots=True)
class Flow:
    """The counts of the stages, None where a stage has not counted."""

    pairs: int | None
    due: int | None
    answered: int | None
    failed: int | None
    not_asked: int | None
    kept: int | None
    rejected: int | None
    by_filter: dict[str, FilterCounts]

    @property
    def kept_share(self) -> float | None:
        """Kept of all traces that the filters saw."""
        seen = (self.kept or 0) + (self.rejected or 0)
        return self.kept / seen if self.kept is not None and seen else None

    @property
    def worst_filter(self) -> str | None:
        """The filter that rejected most."""
        counted = {name: counts.rejected for name, counts in self.by_filter.items()}
        return max(counted, key=lambda name: counted[name]) if any(counted.values()) else None


@dataclass(frozen=True, slots=True)
class Check:
    """A sum that must hold, in words, and whether it does."""

    text: str
    holds: bool


def flow(files: RunFiles) -> Flow:
    """The counts of the stages that there are."""
    pairs, asked, filtered = (files.counts(name) for name in ("pairs", "trace", "filter"))
    return Flow(
        pairs=_known(pairs.pairs, pairs.rows),
        due=_known(asked.samples_due, filtered.samples_due),
        answered=asked.answered,
        failed=_known(filtered.failed, asked.failed),
        not_asked=_known(filtered.not_asked, asked.not_asked),
        kept=filtered.kept,
        rejected=filtered.rejected,
        by_filter=filtered.by_filter,
    )


def _known(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def checks(files: RunFiles, found: Flow) -> list[Check]:
    """Every sum that the counts allow to be checked, against one another and against the rows on disk."""
    by_split = files.counts("pairs").by_split
    sums: list[tuple[str, int | None, list[tuple[int | None, str]]]] = [
        ("pairs", found.pairs, [(n, f"in {s}") for s, n in by_split.items()]),
        (
            "samples due",
            found.due,
            [(found.answered, "answered"), (found.failed, "failed"), (found.not_asked, "not asked")],
        ),
        (
            "samples due",
            found.due,
            [
                (found.kept, "kept"),
                (found.rejected, "rejected"),
                (found.failed, "failed"),
                (found.not_asked, "not asked"),
            ],
        ),
        ("rejected", found.rejected, [(counts.rejected, f"by {name}") for name, counts in found.by_filter.items()]),
    ]
    made = [check for each in sums if (check := _check(*each))]
    for name, counts in found.by_filter.items():
        reasons = sum(counts.reasons.values())
        if reasons > counts.rejected:  # fewer is right: only the most frequent reasons are listed
            text = f"{count(counts.rejected)} rejected by {name}, and {count(reasons)} reasons"
            made.append(Check(text, False))
    for folder, expected in (("pairs", found.pairs), ("kept", found.kept), ("rejected", found.rejected)):
        rows = files.rows_on_disk(folder)
        if rows is not None and expected is not None and rows != expected:
            made.append(Check(f"{folder}/ holds {count(rows)} rows, {count(expected)} were counted", False))
    return made


def _check(name: str, whole: int | None, parts: list[tuple[int | None, str]]) -> Check | None:
    if whole is None or not parts or any(n is None for n, _ in parts):
        return None
    total = sum(int(n or 0) for n, _ in parts)
    text = f"{count(whole)} {name} = " + " + ".join(f"{count(n)} {what}" for n, what in parts)
    if total == whole:
        return Check(text, True)
    return Check(f"{text.replace(' = ', ' ≠ ', 1)}: these make {count(total)}, {count(abs(whole - total))} off", False)


def section(files: RunFiles) -> dict[str, Any] | None:
    """The steps with their shares, the losses by cause and reason, the sums; None before there are pairs."""
    found = flow(files)
    if found.pairs is None:
        return None
    pairs = files.counts("pairs")
    samples = files.setting("teacher", "samples")
    steps = [
        ("Pairs", found.pairs, _list(pairs.by_split), "pairs"),
        ("Samples due", found.due, f"{samples} per pair of the train split" if samples else "", "pairs"),
        ("Answered", found.answered, "journalled as they arrived", "traces"),
        ("Kept", found.kept, "passed every filter; what the students learn from", "kept"),
    ]
    known = [n for _, n, _, _ in steps if n is not None]
    widest = max(known, default=0) or 1
    kinds = {kind: n for kind, n in files.counts("trace").failures.items() if kind != "not_asked"}
    losses: list[dict[str, Any]] = [
        {"name": "Not asked", "n": found.not_asked or 0, "what": "budget reached or interrupted", "reasons": []},
        {
            "name": "Failed",
            "n": (n := found.failed or 0),
            "what": "refused for good by the endpoint",
            "reasons": _reasons(kinds, n),
        },
    ]
    losses += [
        {"name": name, "n": counts.rejected, "what": "filter", "reasons": _reasons(counts.reasons, counts.rejected)}
        for name, counts in found.by_filter.items()
    ]
    fell = [loss for loss in losses if loss["n"]]
    return {
        "steps": [
            {"name": name, "n": n, "note": note, "width": 100 * n / widest, "href": files.link(folder)}
            for name, n, note, folder in steps
            if n is not None
        ],
        "losses": fell,
        "nothing": [str(loss["name"]) for loss in losses if not loss["n"]] if found.kept is not None else [],
        "due": found.due or 0,
        "checks": checks(files, found),
        "sources": _sources(pairs.by_source),
        "rounds": _rounds(files, found),
        "decided": files.counts("filter").decided,
        "rejected_href": files.link("rejected"),
    }


def _rounds(files: RunFiles, found: Flow) -> list[str]:
    """A sentence for each earlier round: what its student learnt from, and what came of its judgement."""
    lines = []
    metrics = files.metrics
    for number, name in enumerate(("First", "Second", "Third"), 1):
        if f"round-{number}" not in metrics.stages or int(files.setting("rounds") or 1) <= number:
            continue
        made = metrics.counts(f"round-{number}")
        by_filter = metrics.counts(f"round-{number + 1}").by_filter or found.by_filter
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


def _list(counted: dict[str, int]) -> str:
    return ", ".join(f"{count(n)} {name}" for name, n in counted.items())
