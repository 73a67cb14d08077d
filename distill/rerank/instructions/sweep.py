"""The sweep: every instruction on the development queries, the best of them and none on the test queries.

The queries are parted once, by a hash of their ids, so that the choice never sees the queries it is reported on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distill.errors import InputError
from distill.records import Pair, Score, digest
from distill.tables import counted
from distill.texts import clean_text

Measure = Callable[[Mapping[str, Mapping[str, float]]], Mapping[str, float]]
"""{query: {passage: margin}} to {query: value}, over the queries given."""


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction (None: none) and the measure's mean on either part."""

    instruction: str | None
    dev: float
    test: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: `plain` without an instruction, `lines` in the order given, `chosen` by `dev` alone.

    `spread` is the largest minus the smallest test value; `per_query` the mean over test queries of that difference.
    """

    plain: Line
    lines: list[Line]
    chosen: Line
    spread: float
    per_query: float
    queries: dict[str, int]


def sweep(
    score: Score,
    pairs: Sequence[Pair],
    instructions: Iterable[str],
    measure: Measure,
    dev_share: float = 0.5,
    group: Callable[[str], str] = str,
) -> Swept:
    """Rank `pairs` under each instruction, which follows a query's own where it has one, and choose.

    Queries of one `group` (by their ids) stay together on one part, such as one query under several instructions.

    Raises InputError where a part would have no query.
    """
    queries = sorted({pair.query_id for pair in pairs})
    dev = {query for query in queries if int(digest("sweep", group(query))[:8], 16) < dev_share * 16**8}
    if not dev or len(dev) == len(queries):
        raise InputError(
            f"{counted(len(queries), 'query')}: too few to choose on a part of them and report on the rest"
        )

    def values(instruction: str | None) -> Mapping[str, float]:
        run: dict[str, dict[str, float]] = {}
        for judgement in score([with_generic(pair, instruction) for pair in pairs]):
            run.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.margin
        return measure(run)

    def line(instruction: str | None, found: Mapping[str, float]) -> Line:
        means = [
            statistics.fmean(found.get(query, 0.0) for query in queries if (query in dev) is part)
            for part in (True, False)
        ]
        return Line(instruction, *means)

    plain = line(None, values(None))
    found = {instruction: values(instruction) for instruction in dict.fromkeys(instructions)}
    if not found:
        raise InputError("no instruction to try")
    lines = [line(instruction, each) for instruction, each in found.items()]
    chosen = max([plain, *lines], key=lambda each: each.dev)
    tests = [each.test for each in lines]
    ranges = [
        max(each.get(query, 0.0) for each in found.values()) - min(each.get(query, 0.0) for each in found.values())
        for query in queries
        if query not in dev
    ]
    return Swept(
        plain,
        lines,
        chosen,
        max(tests) - min(tests),
        statistics.fmean(ranges),
        {"dev": len(dev), "test": len(queries) - len(dev)},
    )


def with_generic(pair: Pair, instruction: str | None) -> Pair:
    """The pair with a generic instruction after its own."""
    if instruction is None:
        return pair
    own = clean_text(f"{pair.instruction or ''} {instruction}")
    return replace(pair, instruction=own, pair_id=digest(pair.query, own, pair.passage))


def as_json(swept: Swept) -> dict[str, Any]:
    """Plain values."""
    rows = [
        {"instruction": each.instruction, "dev": each.dev, "test": each.test} for each in (swept.plain, *swept.lines)
    ]
    return {
        "queries": swept.queries,
        "chosen": swept.chosen.instruction,
        "rows": rows,
        "spread": swept.spread,
        "spread_per_query": swept.per_query,
    }


def table(swept: Swept, measure: str) -> str:
    """Markdown, the chosen one marked."""
    lines = [
        f"| instruction | {measure}, dev ({swept.queries['dev']}) | test ({swept.queries['test']}) |",
        "|---|---|---|",
    ]
    for each in (swept.plain, *swept.lines):
        mark = "**" if each is swept.chosen else ""
        lines.append(f"| {mark}{each.instruction or 'none'}{mark} | {each.dev:.3f} | {each.test:.3f} |")
    lines += ["", f"Spread over the instructions, test: {swept.spread:.3f}; mean over queries {swept.per_query:.3f}."]
    return "\n".join(lines)
