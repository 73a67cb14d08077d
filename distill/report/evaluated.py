"""The evaluation sets of a run, as the sections need them: measures, intervals, and who is compared with whom."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

from distill import store
from distill.report.compare import Difference, paired
from distill.report.files import RunFiles
from distill.report.words import LOWER_IS_BETTER, safe_name

NOT_STUDENTS = ("first_stage", "untrained")
OWN_MEASURE = ("pairwise_accuracy", "p-MRR", "robustness@10")  # what a set of several rankings a need is made for


@dataclass
class EvaluationSet:
    """One set: `measures` and `intervals` are {system: {measure: value or [low, high]}}, as in metrics.json."""

    files: RunFiles
    name: str
    measures: dict[str, dict[str, Any]]
    intervals: dict[str, dict[str, Any]] = field(default_factory=dict)
    _differences: dict[tuple[str, ...], Difference | None] = field(default_factory=dict)

    @cached_property
    def detail(self) -> dict[str, Any]:
        """Queries, passages, qrels and per-query values, out of the run's evaluation/SET.json."""
        path = self.files.run / "evaluation" / f"{self.name}.json"
        found = store.read_json(path) if safe_name(self.name) else None
        return found if isinstance(found, dict) else {}

    @cached_property
    def primary(self) -> str | None:
        """The measure that the headline speaks of: the first that the configuration names, else nDCG@10."""
        known = {measure: None for values in self.measures.values() for measure in values}
        wanted = [*OWN_MEASURE, *self.configured]
        with_interval = [m for values in self.intervals.values() for m in values]
        return next((measure for measure in [*wanted, *with_interval, *known] if measure in known), None)

    @property
    def configured(self) -> list[str]:
        """The measures that the configuration names, and nDCG@10."""
        return [*(str(measure) for measure in self.files.setting("evaluation", "measures") or []), "nDCG@10"]

    @cached_property
    def by_query(self) -> str | None:
        """The measure by which queries are told apart: the first configured one that has a value for each query."""
        queries = set(self.detail.get("queries") or {})
        by = self.detail.get("per_query") or {}
        known = {name: set(values) for measures in by.values() for name, values in measures.items()}
        wanted = [name for name in (self.primary, *self.configured) if name in known]
        return next((name for name in wanted if name and known[name] <= queries), None)

    def tested(self, system: str, measure: str) -> dict[str, float] | None:
        """The paired tests of a system against the set's baseline, None where there are none."""
        found = ((self.detail.get("tests") or {}).get(system) or {}).get(measure)
        return found if isinstance(found, dict) and _finite(found.get("p_holm")) else None

    @cached_property
    def students(self) -> list[str]:
        """The trained systems, best first by the primary measure."""
        found = [name for name in self.measures if name not in NOT_STUDENTS and self.value(name) is not None]
        down = 1 if self.primary in LOWER_IS_BETTER else -1
        return sorted(found, key=lambda name: down * (self.value(name) or 0.0))

    def value(self, system: str, measure: str | None = None) -> float | None:
        """A system's value by a measure (the primary one unless told), None where it has none."""
        found = self.measures.get(system, {}).get(measure or self.primary or "")
        return float(found) if _finite(found) else None

    def interval(self, system: str, measure: str) -> tuple[float, float] | None:
        """The 95 % interval, None where there is none."""
        found = self.intervals.get(system, {}).get(measure)
        if isinstance(found, list | tuple) and len(found) == 2 and all(map(_finite, found)):
            return float(found[0]), float(found[1])
        return None

    def per_query(self, system: str, measure: str | None = None) -> dict[str, float]:
        """A measure by query, or by whatever its unit is; the primary one unless told."""
        values = (self.detail.get("per_query") or {}).get(system, {}).get(measure or self.primary or "", {})
        return {str(query): float(value) for query, value in values.items() if _finite(value)}

    def difference(self, left: str, right: str, measure: str | None = None) -> Difference | None:
        """Right against left over shared queries, by a measure (the primary one unless told)."""
        key = (left, right, measure or self.primary or "")
        if key not in self._differences:
            seed = self.files.setting("seed")
            self._differences[key] = paired(
                self.per_query(left, measure), self.per_query(right, measure), seed if isinstance(seed, int) else 0
            )
        return self._differences[key]

    @property
    def rivals(self) -> list[str]:
        """What the best student is compared with: the first stage, and the next best student of another kind."""
        first = ["first_stage"] if self.value("first_stage") is not None else []
        second = "direct" if "direct" in self.students[1:] else next(iter(self.students[1:]), None)
        return first + ([second] if second else [])


def _finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def evaluation_sets(files: RunFiles) -> list[EvaluationSet]:
    """The sets of metrics.json, `test` first."""
    measured = files.metrics.get("evaluation") or {}
    intervals = files.metrics.get("intervals") or {}
    names = sorted(measured, key=lambda name: name != "test")
    return [
        EvaluationSet(files, name, measured[name], intervals.get(name) or {})
        for name in names
        if isinstance(measured[name], dict) and measured[name]
    ]
