"""What of a difference is chance: paired bootstrap, paired randomisation, and Holm's correction over systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

RESAMPLES = 5000
FLIPS = 10_000
BLOCK = 4_000_000  # draws held together


def resampled_means(scores: Any, seed: int) -> Any:
    """(resamples, columns) means of (units, columns) scores, units drawn with replacement, the same for each column."""
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


def interval(means: Any) -> list[float]:
    """[low, high] that hold the middle 95 % (percentile bootstrap)."""
    import numpy as np

    return [round(float(x), 6) for x in np.percentile(means, [2.5, 97.5])]


def bootstrap_p(means: Any) -> float:
    """Two-sided p of the hypothesis that the difference is 0, out of its resampled means: how often they lie beyond 0.

    With one added above and below (Davison and Hinkley 1997), so that it is never 0.
    """
    count = len(means)
    lower, upper = int((means <= 0).sum()), int((means >= 0).sum())
    return min(1.0, 2 * (min(lower, upper) + 1) / (count + 1))


def randomisation_p(differences: Any, seed: int) -> list[float]:
    """Two-sided p of each column of (units, columns) paired differences, by flipping the sign of each unit at random.

    Fisher's randomisation test as Smucker, Allan and Carterette (2007) recommend it for retrieval; 10,000 flips, the
    same for each column; exact in expectation, never 0.
    """
    import numpy as np

    units, columns = differences.shape
    if not columns:
        return []
    rng = np.random.default_rng(seed)
    seen = np.abs(differences.sum(axis=0))
    beyond = np.zeros(columns, dtype=np.int64)
    block = max(1, min(FLIPS, BLOCK // units))
    for start in range(0, FLIPS, block):
        size = min(block, FLIPS - start)
        bits = np.frombuffer(rng.bytes((size * units + 7) // 8), dtype=np.uint8)
        heads = np.unpackbits(bits, count=size * units).reshape(size, units).astype(np.float64)
        # a sum with signs s = 2h - 1 is twice the sum of heads less the whole sum
        beyond += (np.abs(2 * (heads @ differences) - differences.sum(axis=0)) >= seen - 1e-9).sum(axis=0)
    return [float((n + 1) / (FLIPS + 1)) for n in beyond]


def holm(values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values: at most 5 % of such families have one false finding below 0.05."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    adjusted, largest = [0.0] * len(values), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[at]))
        adjusted[at] = largest
    return adjusted
