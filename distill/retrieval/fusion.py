"""Reciprocal rank fusion of several ranked lists (Cormack, Clarke and Buettcher 2009). Called by the first stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

K = 60  # Cormack's: how little the first ranks count more than the next


def reciprocal_ranks(lists: Iterable[list[tuple[str, float]]]) -> list[tuple[str, float]]:
    """One list, best first, ties by passage id, descending: a passage's score is the sum of 1 / (K + its ranks)."""
    scores: dict[str, float] = defaultdict(float)
    for ranked in lists:
        for rank, (doc, _) in enumerate(ranked, 1):
            scores[doc] += 1 / (K + rank)
    return sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
