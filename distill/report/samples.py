"""Traces to read: some that were kept, some of each reason that others were not, with query, passage and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

from distill.prompts import is_relevant, prompt_of, word_of
from distill.records import Pair, Rejected, Trace
from distill.report.files import RunFiles
from distill.report.reasons import ReasonCounts, filters_and_reasons
from distill.report.words import clean
from distill.tables import counted

PER_GROUP = 6
MAX_GROUPS = 12
Groups = dict[tuple[str, str], tuple[int, list[Trace]]]
"""{(filter, reason): (how many, the first six)}."""


def section(files: RunFiles) -> dict[str, Any] | None:
    """Groups of samples: kept, and one for each filter and reason and each cause of a failure; None without traces.

    Rows are sorted by a hash, so the first six of a group are a fair draw.
    """
    import pyarrow.compute as pc

    groups: Groups = {}
    kept = list(islice(files.rows("kept", Trace), PER_GROUP))
    if kept:
        groups["Kept", ""] = (files.rows_on_disk("kept") or len(kept), kept)
    groups |= _rejected(files) | _failed(files)
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


def _failed(files: RunFiles) -> Groups:
    """The traces that failed, by cause: the beginning of the error."""
    import pyarrow.compute as pc

    is_failed = pc.field("error").is_valid() & ~pc.starts_with(pc.field("error"), "not_asked")
    counts = ReasonCounts()
    for table in files.tables("traces", ["error"], is_failed):
        for error in table["error"].to_pylist():
            counts.add("Failed", _cause(error))
    failed = files.select("traces", Trace, is_failed) if counts.counts() else ()
    return _first(counts, (("Failed", _cause(trace.error or ""), trace) for trace in failed))


def _cause(error: str) -> str:
    return error.partition("\n")[0][:120]


def _rejected(files: RunFiles) -> Groups:
    """The rejected traces by filter and reason."""
    counts = ReasonCounts()
    for table in files.tables("rejected", ["filter", "reason"]):
        for reason, rows in Counter(filters_and_reasons(table)).items():
            counts.add(*reason, rows)
    rejected = files.rows("rejected", Rejected) if counts.counts() else ()
    return _first(counts, ((row.filter, row.reason, row.trace) for row in rejected))


def _first(counts: ReasonCounts, rows: Iterable[tuple[str, str, Trace]]) -> Groups:
    """Each group with its first six traces; no row is read after the last of these."""
    of_group = counts.counts()
    first: dict[tuple[str, str], list[Trace]] = {group: [] for group in of_group}
    wanted = sum(min(n, PER_GROUP) for n in of_group.values())
    for name, reason, trace in rows:
        traces = first.get((name, counts.group(name, reason)))
        if traces is not None and len(traces) < PER_GROUP:
            traces.append(trace)
            wanted -= 1
            if not wanted:
                break
    return {group: (n, first[group]) for group, n in of_group.items()}


def _sample(trace: Trace, pair: Pair | None) -> dict[str, Any]:
    """The rows with what the teacher has said of the pair in words, and whether that is relevant."""
    prompt = prompt_of(trace.teacher)
    if trace.verdict is None:
        return {"trace": trace, "pair": pair, "word": None, "relevant": None}
    verdict = {"word": word_of(trace.verdict, prompt), "relevant": is_relevant(trace.verdict, prompt)}
    return {"trace": trace, "pair": pair, **verdict}
