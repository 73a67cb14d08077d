"""Systems compared on one set: means with intervals, and tests of their differences.

Called by the evaluate stage, by ablations, and by `distill evaluate --qrels --run`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from distill.errors import ConfigError
from distill.files.qrels import Qrels
from distill.files.runs import Rankings
from distill.results import EvaluationResult, PairedTest
from distill.statistics.measures import per_query
from distill.statistics.significance import bootstrap_p, holm, interval, randomisation_p, resampled_means

Values = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{SYSTEM: {MEASURE: {unit: value}}}, a unit being a query, a pair, or a group of instructions."""


def evaluate(
    qrels: Qrels, runs: Mapping[str, Rankings], measures: Sequence[str], seed: int, baseline: str | None = None
) -> EvaluationResult:
    """`summarise` of the runs' measures by query; a query of the qrels that a run lacks counts 0."""
    return summarise({system: per_query(qrels, run, measures) for system, run in runs.items()}, seed, baseline)


def summarise(values: Values, seed: int, baseline: str | None = None) -> EvaluationResult:
    """What {SYSTEM: {MEASURE: {unit: value}}} says, a unit being a query, a pair, or a group of instructions.

    Intervals are 95 % percentile bootstrap over units, the same resamples for every system. Differences and tests are
    against `baseline` (else the first system); Holm's correction is over the systems compared by a measure. A measure
    that a system lacks is left out. Raises ConfigError where `baseline` is none of the systems.
    Not covered: the spread over training seeds (`distill evaluate --seeds` shows it).
    """
    check_baseline(baseline, values)
    against = baseline if baseline is not None else next(iter(values), "")
    result = replace(empty_result(list(values), against), per_query=values)
    for names in _families(values):
        _family(result, values, names, against, seed)
    return result


def empty_result(systems: Sequence[str], baseline: str) -> EvaluationResult:
    """A result of these systems to be filled measure by measure."""
    return EvaluationResult(
        measures={system: {} for system in systems},
        intervals={system: {} for system in systems},
        differences={system: {} for system in systems},
        tests={system: {} for system in systems if system != baseline},
        baseline=baseline,
    )


def check_baseline(baseline: str | None, systems: Collection[str]) -> None:
    """Raise ConfigError where `baseline` is none of the systems."""
    if baseline is not None and baseline not in systems:
        raise ConfigError(f"{baseline!r} is none of the systems {', '.join(systems)}; name one of them as the baseline")


def _families(values: Values) -> list[list[str]]:
    """Measures of the same units and the same systems, so that one draw serves them all."""
    families: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name in dict.fromkeys(measure for by in values.values() for measure in by):
        systems = tuple(system for system, by in values.items() if name in by)
        units = tuple(sorted({unit for system in systems for unit in values[system][name]}))
        families.setdefault((systems, units), []).append(name)
    return list(families.values())


def _family(result: EvaluationResult, values: Values, names: list[str], against: str, seed: int) -> None:
    import numpy as np

    systems = [system for system in values if names[0] in values[system]]
    units = sorted({unit for system in systems for unit in values[system][names[0]]})
    if not units:
        return
    columns = [(system, name) for system in systems for name in names]
    scores = np.array([[values[s][n].get(unit, 0.0) for unit in units] for s, n in columns]).T
    means = resampled_means(scores, seed)
    index = {column: number for number, column in enumerate(columns)}
    for (system, name), at in index.items():
        result.measures[system][name] = round(float(scores[:, at].mean()), 6)
        result.intervals[system][name] = interval(means[:, at])
        if against in systems:
            result.differences[system][name] = interval(means[:, at] - means[:, index[against, name]])
    rivals = [system for system in systems if system != against] if against in systems else []
    for name in names:
        first = index[against, name] if rivals else 0
        apart = np.stack([scores[:, index[s, name]] - scores[:, first] for s in rivals], 1) if rivals else None
        flipped = randomisation_p(apart, seed) if apart is not None else []
        for system, p, corrected in zip(rivals, flipped, holm(flipped), strict=True):
            at = index[system, name]
            result.tests[system][name] = PairedTest(
                difference=round(float(scores[:, at].mean() - scores[:, first].mean()), 6),
                p_bootstrap=round(bootstrap_p(means[:, at] - means[:, first]), 6),
                p_randomisation=round(p, 6),
                p_holm=round(corrected, 6),
            )
