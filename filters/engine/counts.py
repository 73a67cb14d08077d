"""The counts of a run of the filters, which add up; `write` makes them, `run` returns them for metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill.results import Json

REASONS = 20  # of each filter that the counts name; the rows hold all
OUTCOMES = ("kept", "rejected", "failed", "not_asked")  # of a pair with several samples: the first that any has


@dataclass(slots=True)
class OutcomeCounts:
    """Counts that add up: samples = kept + rejected + failed + not_asked; each pair has one outcome."""

    filters: Sequence[str]
    samples: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    pairs: Counter[str] = field(default_factory=Counter)
    relabelled: int = 0

    def reject(self, name: str, reason: str) -> None:
        """Count one; reasons that differ only after their first colon are one reason."""
        self.samples["rejected"] += 1
        self.reasons.setdefault(name, Counter())[reason.partition(": ")[0]] += 1

    def add(self, other: OutcomeCounts) -> None:
        """Take in the counts of some of the traces."""
        self.samples.update(other.samples)
        self.pairs.update(other.pairs)
        for name, reasons in other.reasons.items():
            self.reasons.setdefault(name, Counter()).update(reasons)

    def counts(self) -> dict[str, Json]:
        """The counts for metrics.json. Raises AssertionError where they do not add up: a fault of this project."""
        outcomes = {outcome: self.samples[outcome] for outcome in OUTCOMES}
        if self.samples["samples"] != sum(outcomes.values()):
            raise AssertionError(f"the filters' counts do not add up: {dict(self.samples)}")
        by_filter = {name: self.reasons.get(name, Counter()) for name in dict.fromkeys([*self.filters, *self.reasons])}
        counts: dict[str, Json] = {
            "samples": self.samples["samples"],
            **outcomes,
            "by_filter": {
                name: {"rejected": sum(reasons.values()), "reasons": dict(reasons.most_common(REASONS))}
                for name, reasons in by_filter.items()
            },
            "by_pair": {outcome: self.pairs[outcome] for outcome in OUTCOMES},
        }
        return counts | ({"relabelled": self.relabelled} if self.relabelled else {})


def unanswered(error: str) -> str:
    """Which of the two a trace with an error is, failed or not asked."""
    return "not_asked" if error.startswith("not_asked") else "failed"


def better(new: str, old: str | None) -> str:
    """The outcome of a pair that has two."""
    return new if old is None or OUTCOMES.index(new) < OUTCOMES.index(old) else old
