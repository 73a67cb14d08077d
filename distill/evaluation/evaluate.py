"""Systems compared on one set: means with intervals, and what of each difference is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.errors import ConfigError
from distill.files.qrels import Qrels
from distill.files.runs import Rankings
from distill.statistics.measures import per_query
from distill.statistics.significance import bootstrap_p, holm, interval, randomisation_p, resampled_means

Values = Mapping[str, Mapping[str, Mapping[str, float]]]


def evaluate(
    qrels: Qrels, runs: Mapping[str, Rankings], measures: Sequence[str], seed: int, baseline: str | None = None
) -> dict[str, Any]:
    """`summarise` of the runs' measures by query; a query of the qrels that a run lacks counts 0."""
    return summarise({system: per_query(qrels, run, measures) for system, run in runs.items()}, seed, baseline)


def summarise(values: Values, seed: int, baseline: str | None = None) -> dict[str, Any]:
    """What {SYSTEM: {MEASURE: {unit: value}}} says, a unit being a query, a pair, or a group of instructions:

    {"measures": {SYSTEM: {MEASURE: mean}}, "intervals": {SYSTEM: {MEASURE: [low, high]}}, "differences": {SYSTEM:
    {MEASURE: [low, high]}}, "tests": {SYSTEM: {MEASURE: {...}}}, "baseline": SYSTEM, "per_query": the values}.

    Intervals are 95 % percentile bootstrap over units, the same resamples for every system. `differences` and `tests`
    are against `baseline` (else the first system); a test holds `difference`, `p_bootstrap`, `p_randomisation`, and
    `p_holm`, the latter corrected over the systems compared by that measure. A measure that a system lacks is left out.
    Not covered: the spread over training seeds (`distill evaluate --seeds` shows it).
    """
    if baseline is not None and baseline not in values:
        raise ConfigError(f"{baseline!r} is none of the systems {', '.join(values)}; name one of them as the baseline")
    against = baseline if baseline is not None else next(iter(values), "")
    found: dict[str, Any] = {
        "measures": {system: {} for system in values},
        "intervals": {system: {} for system in values},
        "differences": {system: {} for system in values},
        "tests": {system: {} for system in values if system != against},
        "baseline": against,
        "per_query": values,
    }
    for names in _families(values):
        _family(found, values, names, against, seed)
    return found


def _families(values: Values) -> list[list[str]]:
    """Measures of the same units and the same systems, so that one draw serves them all."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name in dict.fromkeys(measure for by in values.values() for measure in by):
        systems = tuple(system for system, by in values.items() if name in by)
        units = tuple(sorted({unit for system in systems for unit in values[system][name]}))
        found.setdefault((systems, units), []).append(name)
    return list(found.values())


def _family(found: dict[str, Any], values: Values, names: list[str], against: str, seed: int) -> None:
    import numpy as np

    systems = [system for system in values if names[0] in values[system]]
    units = sorted({unit for system in systems for unit in values[system][names[0]]})
    if not units:
        return
    columns = [(system, name) for system in systems for name in names]
    scores = np.array([[values[s][n].get(unit, 0.0) for unit in units] for s, n in columns]).T
    means = resampled_means(scores, seed)
    place = {column: at for at, column in enumerate(columns)}
    for (system, name), at in place.items():
        found["measures"][system][name] = round(float(scores[:, at].mean()), 6)
        found["intervals"][system][name] = interval(means[:, at])
        if against in systems:
            found["differences"][system][name] = interval(means[:, at] - means[:, place[against, name]])
    rivals = [system for system in systems if system != against] if against in systems else []
    for name in names:
        first = place[against, name] if rivals else 0
        apart = np.stack([scores[:, place[s, name]] - scores[:, first] for s in rivals], 1) if rivals else None
        flipped = randomisation_p(apart, seed) if apart is not None else []
        for system, p, corrected in zip(rivals, flipped, holm(flipped), strict=True):
            at = place[system, name]
            found["tests"][system][name] = {
                "difference": round(float(scores[:, at].mean() - scores[:, first].mean()), 6),
                "p_bootstrap": round(bootstrap_p(means[:, at] - means[:, first]), 6),
                "p_randomisation": round(p, 6),
                "p_holm": round(corrected, 6),
            }
