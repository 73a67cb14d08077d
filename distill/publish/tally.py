"""What a dataset's card tells of its rows: counts, and the spread of lengths, in one pass."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from distill.publish.rows import Kept, KeptRow, hub_split, row_of, trained_verdict

COUNTED = ("verdict", "label", "label_origin", "source", "language", "teacher")


@dataclass(frozen=True, slots=True)
class Spread:
    """Of lengths: mean, median, 95th percentile and the longest."""

    mean: float
    median: int
    p95: int
    longest: int


@dataclass(slots=True)
class RowCounts:
    """Counts by column value, and lengths. `examples` are the shortest row of each verdict, to show; a kept trace
    `without_verdict`, which the filter `parses` would have rejected, is no row."""

    rows: int = 0
    without_verdict: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    by: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in COUNTED})
    queries: set[str] = field(default_factory=set)
    instructions: int = 0
    relabelled: int = 0
    lengths: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("l") for name in ("reasoning words", "passage words", "teacher tokens")}
    )
    examples: dict[int, KeptRow] = field(default_factory=dict)

    def spreads(self) -> dict[str, Spread]:
        """The spread of each length."""
        return {name: spread(values) for name, values in self.lengths.items() if values}


def tally(kept: Kept) -> RowCounts:
    """Count the rows."""
    found = RowCounts()
    for pair, trace in kept.joined():
        verdict = trained_verdict(pair, trace)
        if verdict is None:
            found.without_verdict += 1
            continue
        row = row_of(pair, trace, verdict)
        found.rows += 1
        found.splits[hub_split(row.split)] += 1
        for name, counter in found.by.items():
            value = getattr(row, name)
            counter["not known" if value is None else str(value).split(":")[0] if name == "source" else str(value)] += 1
        found.queries.add(row.query_id)
        found.instructions += row.instruction is not None
        found.relabelled += row.label_before is not None
        found.lengths["reasoning words"].append(len(row.reasoning.split()))
        found.lengths["passage words"].append(len(row.passage.split()))
        found.lengths["teacher tokens"].append(row.completion_tokens)
        shortest = found.examples.get(row.verdict)
        if shortest is None or len(row.prompt + row.completion) < len(shortest.prompt + shortest.completion):
            found.examples[row.verdict] = row
    return found


def spread(values: Iterable[int]) -> Spread:
    """The spread of at least one length; percentiles by nearest rank."""
    order = sorted(values)
    median, p95 = (order[int(share * len(order))] for share in (0.5, 0.95))
    return Spread(fmean(order), median, p95, order[-1])
