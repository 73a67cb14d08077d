"""The evaluation sets of a run, as the sections need them: measures, intervals, and who is compared with whom."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property

from distill import store
from distill.report.files import RunFiles
from distill.report.words import LOWER_IS_BETTER, safe_name
from distill.results import BASELINES, Intervals, Measures, SetCounts, SetDetail, read_as
from distill.statistics.measures import without_grade

JUDGED_ONLY = "(judged_only=True)"
OWN_MEASURE = ("pairwise_accuracy", "p-MRR", "robustness@10")  # what a set of several rankings a need is made for


@dataclass(frozen=True, slots=True)
class Difference:
    """Right minus left over the queries that both have; `low` and `high` bound 95 % of the paired bootstrap."""

    mean: float
    low: float
    high: float
    values: dict[str, float]

    @property
    def wins(self) -> int:
        """Queries on which right is ahead."""
        return sum(value > 0 for value in self.values.values())

    @property
    def losses(self) -> int:
        """Queries on which left is ahead."""
        return sum(value < 0 for value in self.values.values())

    @property
    def ties(self) -> int:
        """Queries on which both are alike."""
        return len(self.values) - self.wins - self.losses


def paired(left: dict[str, float], right: dict[str, float], seed: int = 0) -> Difference | None:
    """The difference by query, with the bootstrap of `distill.evaluation`: by the run's seed, its very interval.

    None without a shared query. One draw of queries and no other source of spread: not covered are seeds of training.
    """
    import numpy as np

    from distill.statistics.significance import interval, resampled_means

    values = {query: right[query] - left[query] for query in sorted(left.keys() & right.keys())}
    if not values:
        return None
    array = np.array(list(values.values()))
    low, high = interval(resampled_means(array[:, None], seed)[:, 0])
    return Difference(float(array.mean()), low, high, values)


@dataclass(eq=False)
class EvaluationSet:
    """One set, with its measures and intervals as in metrics.json."""

    files: RunFiles
    name: str
    measures: Measures
    intervals: Intervals = field(default_factory=dict)

    @cached_property
    def detail(self) -> SetDetail:
        """Queries, passages, qrels and per-query values, out of the run's evaluation/SET.json."""
        path = self.files.run / "evaluation" / f"{self.name}.json"
        return read_as(SetDetail, store.read_json(path) if safe_name(self.name) else None)

    @cached_property
    def primary(self) -> str | None:
        """The measure that the headline speaks of: the first that the configuration names, else nDCG@10."""
        known = {measure: None for values in self.measures.values() for measure in values}
        wanted = [*OWN_MEASURE, *_named(self.configured, known)]
        with_interval = [m for values in self.intervals.values() for m in values]
        return next((measure for measure in [*wanted, *with_interval, *known] if measure in known), None)

    @property
    def configured(self) -> list[str]:
        """The measures that the configuration names, and nDCG@10."""
        return [*(str(measure) for measure in self.files.setting("evaluation", "measures") or []), "nDCG@10"]

    @cached_property
    def by_query(self) -> str | None:
        """The measure by which queries are distinguished: the first configured one that has a value for each query."""
        queries = set(self.detail.queries)
        by_system = self.detail.per_query.values()
        known = {name: set(values) for measures in by_system for name, values in measures.items()}
        wanted = [name for name in (self.primary, *_named(self.configured, known)) if name in known]
        return next((name for name in wanted if name and known[name] <= queries), None)

    @cached_property
    def students(self) -> list[str]:
        """The trained systems, best first by the primary measure."""
        students = [name for name in self.measures if name not in BASELINES and self.value(name) is not None]
        sign = 1 if self.primary in LOWER_IS_BETTER else -1
        return sorted(students, key=lambda name: sign * (self.value(name) or 0.0))

    def value(self, system: str, measure: str | None = None) -> float | None:
        """A system's value by a measure (the primary one by default), None where it has none."""
        value = self.measures.get(system, {}).get(measure or self.primary or "")
        return value if value is not None and math.isfinite(value) else None

    def interval(self, system: str, measure: str) -> tuple[float, float] | None:
        """The 95 % interval, None where there is none."""
        bounds = self.intervals.get(system, {}).get(measure, [])
        return (bounds[0], bounds[1]) if len(bounds) == 2 and all(map(math.isfinite, bounds)) else None

    def per_query(self, system: str, measure: str | None = None) -> dict[str, float]:
        """A measure by query, or by whatever its unit is; the primary one by default."""
        values = self.detail.per_query.get(system, {}).get(measure or self.primary or "", {})
        return {query: value for query, value in values.items() if math.isfinite(value)}

    @cache  # noqa: B019 - as long as the report is drawn
    def difference(self, left: str, right: str, measure: str | None = None) -> Difference | None:
        """Right against left over shared queries, by a measure (the primary one by default)."""
        seed = self.files.setting("seed")
        return paired(
            self.per_query(left, measure), self.per_query(right, measure), seed if isinstance(seed, int) else 0
        )

    @cached_property
    def graded(self) -> bool:
        """Whether some label is a grade above 1."""
        return any(grade > 1 for labels in self.detail.qrels.values() for grade in labels.values())

    def unjudged(self, system: str) -> float | None:
        """The share of the top of the system's lists that nobody judged; None where it was not measured."""
        name = next((name for name in self.measures.get(system, {}) if name.startswith("Judged@")), "")
        judged = self.value(system, name) if name else None
        return None if judged is None else round(1 - judged, 9)

    @cached_property
    def judged_only(self) -> str | None:
        """The measure over judged passages alone that belongs to the primary one."""
        known = {name for values in self.measures.values() for name in values if JUDGED_ONLY in name}
        return next((name for name in sorted(known) if name.replace(JUDGED_ONLY, "") == self.primary), None)

    def seconds_a_query(self, system: str) -> float | None:
        """What a query took on one device, in batches with others; None where it was not measured.

        A fused system takes as long as the one that it is made of.
        """
        counts = self.files.counts("evaluate")
        size, pace = counts.sets.get(self.name, SetCounts()), self.value(system.removesuffix(".fused"), "pairs_per_s")
        if not size.queries or not size.pairs or not pace:
            return None
        return size.pairs / size.queries / pace * (counts.devices or 1)

    @property
    def usd_per_hour(self) -> float | None:
        """The rent of one device: the configuration's, else that of the device that judged, where it is known."""
        given = self.files.setting("sft", "assume", "usd_per_hour")
        return given if isinstance(given, int | float) else self.files.counts("evaluate").usd_per_hour

    def usd_a_thousand(self, system: str) -> float | None:
        """Dollars per 1,000 queries: the device's rent over the time; None where either is unknown."""
        seconds, rent = self.seconds_a_query(system), self.usd_per_hour
        return seconds / 3.6 * rent if seconds is not None and rent else None

    @cached_property
    def order(self) -> list[str]:
        """First stage and untrained, then the students up to the best; whatever has no primary value before them."""
        first = [name for name in BASELINES if name in self.measures]
        rest = [name for name in self.measures if name not in self.students]
        return list(dict.fromkeys([*first, *rest, *reversed(self.students)]))

    @property
    def rivals(self) -> list[str]:
        """What the best student is compared with: the first stage, and the next best student of another kind."""
        first = ["first_stage"] if self.value("first_stage") is not None else []
        others = self.students[1:]
        return first + (["direct"] if "direct" in others else others[:1])


def _named(configured: Iterable[str], known: Iterable[str]) -> list[str]:
    """The configured measures by the names that they have in this set: AP is AP(rel=2) where relevance begins at 2."""
    known_as = {without_grade(name): name for name in known}
    return [known_as.get(name, name) for name in configured]


def evaluation_sets(files: RunFiles) -> list[EvaluationSet]:
    """The sets of metrics.json, `test` first, and last the one that something was chosen on."""
    measured, intervals = files.metrics.evaluation, files.metrics.intervals
    chosen_on = files.setting("evaluation", "calibrate_on")
    names = sorted(measured, key=lambda name: (name == chosen_on, name != "test"))
    return [EvaluationSet(files, name, measured[name], intervals.get(name, {})) for name in names if measured[name]]
