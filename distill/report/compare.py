"""Two systems over the same queries: the mean difference and how much of it is chance."""

from __future__ import annotations

from dataclasses import dataclass


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
