"""Several runs that differ in their seed alone: how much of a difference is the draw of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill import store
from distill.errors import ConfigError, DataError
from distill.statistics.significance import RESAMPLES, bootstrap_p, holm, interval


def across(folders: Sequence[Path], seed: int, baseline: str | None = None) -> dict[str, dict[str, Any]]:
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
    details = [_details(folder) for folder in folders]
    shared = sorted(set.intersection(*(set(each) for each in details)))
    if not shared:
        raise DataError(f"{folders[0]}: shares no evaluation set with {', '.join(map(str, folders[1:]))}")
    return {name: _one([each[name] for each in details], seed, baseline) for name in shared}


def _details(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((folder / "evaluation").glob("*.json")):
        detail = store.read_json(path)
        if isinstance(detail, dict) and isinstance(detail.get("per_query"), dict):
            found[path.stem] = detail["per_query"]
    if not found:
        raise DataError(f"{folder / 'evaluation'}: holds no evaluated set; `distill evaluate CONFIG` makes it")
    return found


def _one(runs: list[Mapping[str, Any]], seed: int, baseline: str | None) -> dict[str, Any]:
    import numpy as np

    systems = [s for s in runs[0] if all(s in run for run in runs)]
    if baseline is not None and baseline not in systems:
        raise ConfigError(f"{baseline!r} is none of the systems {', '.join(systems)} that all the runs have")
    against = baseline or next(iter(systems), "")
    found: dict[str, Any] = {"measures": {}, "intervals": {}, "differences": {}, "tests": {}, "spread": {}}
    found |= {"baseline": against, "runs": len(runs)}
    drawn: dict[tuple[str, str], Any] = {}
    for system in systems:
        for key in ("measures", "intervals", "differences", "spread"):
            found[key][system] = {}
        for name in runs[0][system]:
            if not all(name in run[system] for run in runs):
                continue
            units = sorted(set.intersection(*(set(run[system][name]) for run in runs)))
            if not units:
                continue
            scores = np.array([[run[system][name][unit] for unit in units] for run in runs])
            by_run = scores.mean(axis=1)
            drawn[system, name] = _both(scores, seed)
            found["measures"][system][name] = round(float(scores.mean()), 6)
            found["intervals"][system][name] = interval(drawn[system, name])
            found["spread"][system][name] = {
                "by_run": [round(float(value), 6) for value in by_run],
                "sd": round(float(by_run.std(ddof=1)), 6),
            }
    rivals = [system for system in systems if system != against]
    found["tests"] = {system: {} for system in rivals}
    for name in runs[0].get(against, {}):
        tested = [system for system in rivals if (system, name) in drawn and (against, name) in drawn]
        values = []
        for system in tested:
            apart = drawn[system, name] - drawn[against, name]
            found["differences"][system][name] = interval(apart)
            values.append(bootstrap_p(apart))
        for system, p, corrected in zip(tested, values, holm(values), strict=True):
            mean = found["measures"][system][name] - found["measures"][against][name]
            test = {"difference": round(mean, 6), "p_bootstrap": round(p, 6), "p_holm": round(corrected, 6)}
            found["tests"][system][name] = test
    return found


def _both(scores: Any, seed: int) -> Any:
    """Means of (runs, units) scores, runs and units both drawn with replacement; the same draws for equal shapes."""
    import numpy as np

    rng = np.random.default_rng(seed)
    runs, units = scores.shape
    means = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        chosen = np.bincount(rng.integers(0, runs, runs), minlength=runs)
        often = np.bincount(rng.integers(0, units, units), minlength=units)
        means[at] = chosen @ scores @ often / (runs * units)
    return means
