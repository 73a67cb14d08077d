"""Systems compared on one set: means over its queries, with intervals from a paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill.evaluation.measures import Qrels, per_query
from distill.evaluation.runs import Rankings

RESAMPLES = 5000
BLOCK = 4_000_000  # draws held at once


def evaluate(qrels: Qrels, runs: Mapping[str, Rankings], measures: Sequence[str], seed: int) -> dict[str, Any]:
    """{"measures": {SYSTEM: {MEASURE: mean}}, "intervals": {SYSTEM: {MEASURE: [low, high]}}, "differences":
    {SYSTEM: {MEASURE: [low, high]}}, "per_query": {SYSTEM: {MEASURE: {query: value}}}}.

    Intervals are 95 % percentile bootstrap over queries, the same resamples for every system; `differences` are those
    of the system minus the first one in `runs`.
    """
    import numpy as np

    queries = sorted(qrels)
    values = {system: per_query(qrels, run, measures) for system, run in runs.items()}
    names = list(next(iter(values.values()))) if values else []
    scores = np.array([[by[name][q] for q in queries] for by in values.values() for name in names])
    means = _resampled(scores.T, seed) if scores.size else np.zeros((1, 0))
    found: dict[str, Any] = {"measures": {}, "intervals": {}, "differences": {}, "per_query": values}
    for at, system in enumerate(values):
        found["measures"][system], found["intervals"][system], found["differences"][system] = {}, {}, {}
        for first, name in enumerate(names):
            column = at * len(names) + first
            found["measures"][system][name] = round(float(scores[column].mean()), 6)
            found["intervals"][system][name] = _bounds(means[:, column])
            found["differences"][system][name] = _bounds(means[:, column] - means[:, first])
    return found


def _resampled(scores: Any, seed: int) -> Any:
    """(resamples, columns) means of (queries, columns) scores: how often each query was drawn, times its scores."""
    import numpy as np

    rng = np.random.default_rng(seed)
    count = len(scores)
    block = max(1, min(RESAMPLES, BLOCK // count))
    parts = []
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        often = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(often @ scores / count)
    return np.concatenate(parts)


def _bounds(means: Any) -> list[float]:
    import numpy as np

    return [round(float(x), 6) for x in np.percentile(means, [2.5, 97.5])]
