"""Two systems over the same queries: the mean difference and how much of it is chance."""

from __future__ import annotations

from dataclasses import dataclass

RESAMPLES = 2000


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


def paired(left: dict[str, float], right: dict[str, float]) -> Difference | None:
    """The difference by query, with a percentile bootstrap over queries (2,000 resamples, fixed seed).

    None without a shared query. One draw of queries and no other source of spread: not covered are seeds of training.
    """
    import numpy as np

    values = {query: right[query] - left[query] for query in sorted(left.keys() & right.keys())}
    if not values:
        return None
    array = np.array(list(values.values()))
    draw = np.random.default_rng(0)
    means = np.array([array[draw.integers(0, len(array), len(array))].mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(array.mean()), float(low), float(high), values)
