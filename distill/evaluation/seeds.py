"""Several runs that differ in their seed alone: how much of a difference comes from the training's randomness.

Called by `distill evaluate --seeds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.errors import ConfigError, DataError
from distill.evaluation.evaluate import empty_result
from distill.results import ByUnit, EvaluationResult, PairedTest, SetDetail, Spread, read_as
from distill.statistics.significance import RESAMPLES, bootstrap_p, holm, interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def across(folders: Sequence[Path], seed: int, baseline: str | None = None) -> dict[str, EvaluationResult]:
    """{SET: what `summarise` gives, over seeds and queries, and "spread"} of finished run folders.

    A system's mean is over runs and queries; its interval and its difference to the baseline are bootstrapped over
    both: runs are drawn, and queries, so that neither a lucky seed nor an easy query counts as certain. `spread` is
    {SYSTEM: {MEASURE: {"by_run": [mean, ...], "sd": standard deviation over runs}}}. With fewer than three runs an
    interval over seeds says little, and the table says so.
    Raises DataError where a folder holds no evaluation, or the runs share no set, system or query.
    """
    if len(folders) < 2:
        raise ConfigError("--seeds needs at least two run folders, made with different seeds")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("--seeds: a run folder is named twice; each counts as a seed of its own")
    by_run = [details(folder) for folder in folders]
    shared = sorted(set.intersection(*(set(sets) for sets in by_run)))
    if not shared:
        raise DataError(f"{folders[0]}: shares no evaluation set with {', '.join(map(str, folders[1:]))}")
    return {name: _one([sets[name] for sets in by_run], seed, baseline) for name in shared}


def details(folder: Path) -> dict[str, ByUnit]:
    """{SET: the values behind its means} of a run folder."""
    sets: dict[str, ByUnit] = {}
    for path in sorted((folder / "evaluation").glob("*.json")):
        detail = read_as(SetDetail, store.read_json(path))
        if detail.per_query:
            sets[path.stem] = detail.per_query
    if not sets:
        raise DataError(f"{folder / 'evaluation'}: holds no evaluated set; `distill evaluate CONFIG` makes it")
    return sets


def _one(runs: Sequence[ByUnit], seed: int, baseline: str | None) -> EvaluationResult:
    import numpy as np

    systems = [system for system in runs[0] if all(system in run for run in runs)]
    if baseline is not None and baseline not in systems:
        raise ConfigError(f"{baseline!r} is none of the systems {', '.join(systems)} that all the runs have")
    against = baseline or next(iter(systems), "")
    spread: dict[str, dict[str, Spread]] = {system: {} for system in systems}
    left_out = _not_shared(runs, systems)
    if not any(_shared_units(runs, system, name) for system in systems for name in runs[0][system]):
        raise DataError(
            "--seeds: the runs share no query of any system, so there is nothing to compare; name runs of one "
            "configuration that differ in their seed"
        )
    result = replace(empty_result(systems, against), spread=spread, runs=len(runs), left_out=left_out)
    drawn: dict[tuple[str, str], Floats] = {}
    for system in systems:
        for name in runs[0][system]:
            units = _shared_units(runs, system, name)
            if not units:
                continue
            scores = np.array([[run[system][name][unit] for unit in units] for run in runs])
            by_run = scores.mean(axis=1)
            drawn[system, name] = _both(scores, seed)
            result.measures[system][name] = round(float(scores.mean()), 6)
            result.intervals[system][name] = interval(drawn[system, name])
            means = [round(float(value), 6) for value in by_run]
            spread[system][name] = Spread(by_run=means, sd=round(float(by_run.std(ddof=1)), 6))
    for name in runs[0].get(against, {}):
        tested = [system for system in result.tests if (system, name) in drawn and (against, name) in drawn]
        values = []
        for system in tested:
            apart = drawn[system, name] - drawn[against, name]
            result.differences[system][name] = interval(apart)
            values.append(bootstrap_p(apart))
        for system, p, corrected in zip(tested, values, holm(values), strict=True):
            mean = result.measures[system][name] - result.measures[against][name]
            result.tests[system][name] = PairedTest(
                difference=round(mean, 6), p_bootstrap=round(p, 6), p_holm=round(corrected, 6)
            )
    return result


def _shared_units(runs: Sequence[ByUnit], system: str, measure: str) -> list[str]:
    """The units that all the runs have a value for, sorted."""
    return sorted(set.intersection(*(set(run.get(system, {}).get(measure, {})) for run in runs)))


def _not_shared(runs: Sequence[ByUnit], systems: Sequence[str]) -> dict[str, int]:
    """{what not all the runs have, and so is left out: how many}."""
    units = [frozenset(u for system in systems for values in run[system].values() for u in values) for run in runs]
    shared = units[0].intersection(*units)
    counts = {
        "systems that not all the runs have, left out": len(set().union(*runs) - set(systems)),
        "queries that not all the runs have, left out": len(units[0].union(*units) - shared),
    }
    return {what: count for what, count in counts.items() if count}


def _both(scores: Floats, seed: int) -> Floats:
    """Means of (runs, units) scores, runs and units both drawn with replacement; the same draws for equal shapes."""
    import numpy as np

    rng = np.random.default_rng(seed)
    runs, units = scores.shape
    means = np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        chosen = np.bincount(rng.integers(0, runs, runs), minlength=runs)
        often = np.bincount(rng.integers(0, units, units), minlength=units)
        means[draw] = chosen @ scores @ often / (runs * units)
    return means
