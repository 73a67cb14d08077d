"""Traces to read: some that were kept, some of each reason that others were not, with query, passage and label."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

from distill.prompts import is_relevant, prompt_of, word_of
from distill.records import Pair, Rejected, Trace
from distill.report.files import RunFiles
from distill.report.reasons import filters_and_reasons, grouped
from distill.report.words import clean
from distill.tables import counted

PER_GROUP = 6
MAX_GROUPS = 12


def section(files: RunFiles) -> dict[str, Any] | None:
    """Groups of samples: kept, and one for each filter and reason and each cause of a failure; None without traces.

    Rows are sorted by a hash, so the first six of a group are a fair draw.
    """
    import pyarrow.compute as pc

    groups: dict[tuple[str, str], tuple[int, list[Trace]]] = {}
    kept = list(islice(files.rows("kept", Trace), PER_GROUP))
    if kept:
        groups["Kept", ""] = (files.rows_on_disk("kept") or len(kept), kept)
    groups |= _rejected(files)
    is_failed = pc.field("error").is_valid() & ~pc.starts_with(pc.field("error"), "not_asked")
    errors = [error for table in files.tables("traces", ["error"], is_failed) for error in table["error"].to_pylist()]
    causes = dict(zip(errors, grouped([("Failed", error.partition("\n")[0][:120]) for error in errors]), strict=True))
    failed: dict[tuple[str, str], list[Trace]] = {}
    for trace in files.select("traces", Trace, is_failed) if errors else ():
        of_cause = failed.setdefault(causes[trace.error or ""], [])
        of_cause += [trace] if len(of_cause) < PER_GROUP else []
    counts = Counter(causes[error] for error in errors)
    groups |= {cause: (counts[cause], traces) for cause, traces in failed.items()}
    if not groups:
        return None
    ranked = sorted(groups.items(), key=lambda item: (item[0][0] != "Kept", item[0][0] == "Failed", -item[1][0]))
    shown, rest = ranked[:MAX_GROUPS], ranked[MAX_GROUPS:]
    wanted = {trace.pair_id for _, (_, traces) in shown for trace in traces}
    pairs = {pair.pair_id: pair for pair in files.select("pairs", Pair, pc.field("pair_id").isin(sorted(wanted)))}
    left_out = sum(n for _, (n, _) in rest)
    return {
        "who": "answer" if files.judged else "teacher",
        "groups": [
            {
                "id": f"sample-{at}",
                "name": clean(name),
                "reason": clean(reason),
                "n": n,
                "samples": [_sample(trace, pairs.get(trace.pair_id)) for trace in traces],
            }
            for at, ((name, reason), (n, traces)) in enumerate(shown)
        ],
        "left_out": f"In rejected/: {counted(len(rest), 'rarer reason')} with {counted(left_out, 'trace')}."
        if rest
        else "",
    }


def _rejected(files: RunFiles) -> dict[tuple[str, str], tuple[int, list[Trace]]]:
    """{(filter, reason): (how many, the first six)}; of the others only filter and reason are read."""
    reasons: Counter[tuple[str, str]] = Counter()
    for table in files.tables("rejected", ["filter", "reason"]):
        reasons.update(filters_and_reasons(table))
    group_of = dict(zip(reasons, grouped(list(reasons)), strict=True))
    counted: Counter[tuple[str, str]] = Counter()
    for reason, n in reasons.items():
        counted[group_of[reason]] += n
    first: dict[tuple[str, str], list[Trace]] = {group: [] for group in counted}
    wanted = sum(min(n, PER_GROUP) for n in counted.values())
    for row in files.rows("rejected", Rejected) if wanted else ():
        traces = first.get(group_of.get((row.filter, row.reason), ("", "")))
        if traces is not None and len(traces) < PER_GROUP:
            traces.append(row.trace)
            wanted -= 1
            if not wanted:
                break
    return {group: (n, first[group]) for group, n in counted.items()}


def _sample(trace: Trace, pair: Pair | None) -> dict[str, Any]:
    """The rows with what the teacher has said of the pair in words, and whether that is relevant."""
    prompt = prompt_of(trace.teacher)
    if trace.verdict is None:
        return {"trace": trace, "pair": pair, "word": None, "relevant": None}
    verdict = {"word": word_of(trace.verdict, prompt), "relevant": is_relevant(trace.verdict, prompt)}
    return {"trace": trace, "pair": pair, **verdict}
