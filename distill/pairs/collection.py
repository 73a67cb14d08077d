"""A collection in memory: passages, queries, labels."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Collection:
    """`passages` are title and text joined by a space; `qrels` are grades >= 0 of the split's queries only.

    `negative_grades` counts labels below 0 in the source, which are read as 0.
    """

    passages: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    instructions: dict[str, str] = field(default_factory=dict)
    negative_grades: int = 0
