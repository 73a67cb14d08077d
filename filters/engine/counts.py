"""The filters in their order: what passes all of them is kept, the rest is rejected with the first one's reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.errors import DataError
from distill.records import Pair, Rejected, Trace
from filters.adjudicated import accepted
from filters.base import GroupFilter, Key, RowFilter, Tools
from filters.engine.build import build, is_group
from filters.settings import FilterSettings

REASONS = 20  # of each filter that the counts name; the rows hold all
Rejection = tuple[str, str] | None  # filter and reason, or kept


@dataclass(slots=True)
class FilterCounts:
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

    def counts(self) -> dict[str, Any]:
        """The counts for metrics.json. Raises AssertionError where they do not add up: a fault of ours."""
        outcomes = {name: self.samples[name] for name in OUTCOMES}
        found: dict[str, Any] = {"samples": self.samples["samples"], **outcomes}
        if self.samples["samples"] != sum(outcomes.values()):
            raise AssertionError(f"the filters' counts do not add up: {found}")
        by_filter = {name: self.reasons.get(name, Counter()) for name in dict.fromkeys([*self.filters, *self.reasons])}
        found["by_filter"] = {
            name: {"rejected": sum(each.values()), "reasons": dict(each.most_common(REASONS))}
            for name, each in by_filter.items()
        }
        found["by_pair"] = {name: self.pairs[name] for name in OUTCOMES}
        return found | ({"relabelled": self.relabelled} if self.relabelled else {})


OUTCOMES = (
    "kept",
    "rejected",
    "failed",
    "not_asked",
)  # of a pair with several samples: the first of these that any has


@dataclass(frozen=True, slots=True)
class Sifted:
    """What came of it. `changed` are the pairs that got another label, by pair_id."""

    kept: list[Trace]
    rejected: list[Rejected]
    counts: dict[str, Any]
    changed: dict[str, Pair]


def run(
    pairs: Mapping[str, Pair], traces: Iterable[Trace], settings: FilterSettings, tools: Tools | None = None
) -> tuple[list[Trace], list[Rejected], dict[str, Any]]:
    """(kept, rejected, counts); see `sift`."""
    found = sift(pairs, traces, settings, tools)
    return found.kept, found.rejected, found.counts


def sift(
    pairs: Mapping[str, Pair], traces: Iterable[Trace], settings: FilterSettings, tools: Tools | None = None
) -> Sifted:
    """Run the filters over rows in memory; traces come sorted by (pair_id, sample), as `read_rows` gives them.

    A trace with an `error` was never answered: it is counted as failed or not asked, and in neither list; a pair
    without any trace is not asked. Raises DataError for a trace whose pair is not there, ConfigError for a filter
    without its tools.
    """
    steps = build(settings, tools)
    tally = FilterCounts([step.name for step in steps])
    answered: list[Trace] = []
    outcome = dict.fromkeys((key for key, pair in pairs.items() if pair.split == "train"), "not_asked")
    for trace in traces:
        tally.samples["samples"] += 1
        if trace.pair_id not in pairs:
            raise DataError(f"traces: pair {trace.pair_id} is not among the pairs; run the pairs stage again")
        if trace.error is None:
            answered.append(trace)
        else:
            name = unanswered(trace.error)
            tally.samples[name] += 1
            outcome[trace.pair_id] = better(name, outcome.get(trace.pair_id))
    fates, changed = decide(pairs, answered, steps, accepted((tools or Tools()).decided))
    kept, rejected = [], []
    for trace, fate in zip(answered, fates, strict=True):
        if fate is None:
            kept.append(trace)
        else:
            rejected.append(Rejected(trace, *fate))
            tally.reject(*fate)
        outcome[trace.pair_id] = better("kept" if fate is None else "rejected", outcome.get(trace.pair_id))
    tally.samples["kept"] = len(kept)
    tally.pairs.update(outcome.values())
    tally.relabelled = len(changed)
    return Sifted(kept, rejected, tally.counts(), changed)


def decide(
    pairs: Mapping[str, Pair],
    traces: Sequence[Trace],
    steps: Sequence[RowFilter | GroupFilter],
    spared: frozenset[Key] = frozenset(),
) -> tuple[list[Rejection], dict[str, Pair]]:
    """(each trace's fate, the pairs that were changed); what is `spared` and has a verdict stays whatever they say."""
    fates: list[Rejection] = [None] * len(traces)
    changed: dict[str, Pair] = {}
    for _ in walk(pairs, traces, steps, spared, fates, changed):
        pass
    return fates, changed


def walk(
    pairs: Mapping[str, Pair],
    traces: Sequence[Trace],
    steps: Sequence[RowFilter | GroupFilter],
    spared: frozenset[Key],
    fates: list[Rejection],
    changed: dict[str, Pair],
) -> Iterator[RowFilter | GroupFilter]:
    """Each filter, once its word is entered into `fates` and `changed`."""

    def pair_of(trace: Trace) -> Pair:
        return changed.get(trace.pair_id) or pairs[trace.pair_id]

    for step in steps:
        left = [at for at, fate in enumerate(fates) if fate is None]
        said = step((pair_of(traces[at]), traces[at]) for at in left) if is_group(step) else None
        for at in left:
            trace = traces[at]
            key = (trace.pair_id, trace.sample)
            word: Any = step(pair_of(trace), trace) if said is None else said.get(key)  # type: ignore[arg-type, call-arg]
            if isinstance(word, Pair):
                changed[trace.pair_id] = word
            elif word is not None and not (key in spared and trace.verdict is not None):
                fates[at] = (step.name, word)
        yield step


def unanswered(error: str) -> str:
    """Which of the two a trace with an error is."""
    return "not_asked" if error.startswith("not_asked") else "failed"


def better(new: str, old: str | None) -> str:
    """The outcome of a pair that has two."""
    return new if old is None or OUTCOMES.index(new) < OUTCOMES.index(old) else old
