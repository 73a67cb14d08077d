"""What a dataset's card tells of its rows: counts, and the spread of lengths, in one pass."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from distill.prompts import is_relevant, prompt_of
from distill.publish.rows import LABELS, Kept, KeptRow, hub_split, row_of, trained_verdict

LOPSIDED = 4  # rows of one side to one of the other, from which `balance` is named
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
    with_relevant: set[str] = field(default_factory=set)  # the queries that have a relevant row
    relevant: int = 0
    instructions: int = 0
    relabelled: int = 0
    lengths: dict[str, array[int]] = field(
        default_factory=lambda: {name: array("l") for name in ("reasoning words", "passage words", "teacher tokens")}
    )
    examples: dict[int, KeptRow] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether every answer is its pair's own label, and no row has a reasoning (`teacher.source: labels`)."""
        return set(self.by["teacher"]) == {LABELS} and not any(self.lengths["reasoning words"])

    def notes(self) -> list[str]:
        """What a person should know before training: queries without a relevant row, and one-sided rows."""
        notes, without = [], len(self.queries) - len(self.with_relevant)
        if without:
            notes.append(f"queries whose kept rows are all not relevant: {without:,} of {len(self.queries):,}")
        sides = (self.relevant, self.rows - self.relevant)
        if max(sides) > LOPSIDED * min(sides):
            key = "per_label" if self.relevant > self.rows / 2 else "negatives_per_positive"
            notes.append(
                f"{sides[0]:,} rows are relevant and {sides[1]:,} are not; the filter `balance` ({key}) evens them out"
            )
        return notes

    def spreads(self) -> dict[str, Spread]:
        """The spread of each length; of judged pairs the passages' alone."""
        lengths = self.lengths.items()
        return {name: spread(each) for name, each in lengths if each and (not self.judged or name == "passage words")}


def tally(kept: Kept) -> RowCounts:
    """Count the rows."""
    counts = RowCounts()
    for pair, trace in kept.joined():
        verdict = trained_verdict(pair, trace)
        if verdict is None:
            counts.without_verdict += 1
            continue
        row = row_of(pair, trace, verdict)
        counts.rows += 1
        counts.splits[hub_split(row.split)] += 1
        for name, counter in counts.by.items():
            value = getattr(row, name)
            counter["not known" if value is None else str(value).split(":")[0] if name == "source" else str(value)] += 1
        counts.queries.add(row.query_id)
        if is_relevant(verdict, prompt_of(trace.teacher)):
            counts.relevant += 1
            counts.with_relevant.add(row.query_id)
        counts.instructions += row.instruction is not None
        counts.relabelled += row.label_before is not None
        counts.lengths["reasoning words"].append(len(row.reasoning.split()))
        counts.lengths["passage words"].append(len(row.passage.split()))
        counts.lengths["teacher tokens"].append(row.completion_tokens)
        shortest = counts.examples.get(row.verdict)
        if shortest is None or len(row.prompt + row.completion) < len(shortest.prompt + shortest.completion):
            counts.examples[row.verdict] = row
    return counts


def spread(values: Iterable[int]) -> Spread:
    """The spread of at least one length; percentiles by nearest rank."""
    order = sorted(values)
    median, p95 = (order[int(share * len(order))] for share in (0.5, 0.95))
    return Spread(fmean(order), median, p95, order[-1])
