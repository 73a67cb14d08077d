"""How far two judges agree beyond chance. Called by `distill.evaluation` and by the trace viewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa of two judges' answers to the same items: 1 is full agreement, 0 what chance gives.

    Cohen, A coefficient of agreement for nominal scales (1960). 1 where both always gave one and the same answer.
    Raises ValueError without an item, or where the lengths differ.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} answers: kappa is of equally many, at least one")
    count = len(first)
    alike = sum(a == b for a, b in zip(first, second, strict=True)) / count
    ours, theirs = Counter(first), Counter(second)
    chance = sum(ours[answer] * theirs[answer] for answer in ours) / count**2
    return (alike - chance) / (1 - chance) if chance < 1 else 1.0
