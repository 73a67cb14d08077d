"""How well scores are calibrated: bins of a reliability diagram, ECE and Brier score.

Called by the stage `evaluate`, by the calibration of students (`distill.rerank`) and by what the report draws of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

BINS = 10


def bin_of(score: float, bins: int = BINS) -> int:
    """Number of the bin of equal width that a score in [0, 1] falls in, from 0."""
    return min(bins - 1, int(score * bins))


def reliability(scores: Sequence[float], labels: Sequence[int], bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean score, share relevant, pairs) of each bin of equal width that holds any."""
    held = [array("d") for _ in range(bins)]
    relevant = [0] * bins
    for score, label in zip(scores, labels, strict=True):
        number = bin_of(score, bins)
        held[number].append(score)
        relevant[number] += label
    return [(sum(b) / len(b), relevant[number] / len(b), len(b)) for number, b in enumerate(held) if b]


def quality(scores: Sequence[float], labels: Sequence[int]) -> dict[str, float]:
    """ECE (10 bins of equal width, Naeini et al. 2015) and the Brier score (1950)."""
    count = max(1, len(labels))
    ece = sum(n * abs(score - share) for score, share, n in reliability(scores, labels)) / count
    brier = sum((s - y) ** 2 for s, y in zip(scores, labels, strict=True)) / count
    return {"ECE": round(ece, 4), "Brier": round(brier, 4)}
