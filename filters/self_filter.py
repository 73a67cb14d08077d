"""Self-filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, ClassVar

from pydantic import Field

from distill.records import Pair, Score, Trace
from filters.base import Key, Row, Rule, Tools, need
from filters.verdicts import says_relevant

CHUNK = 32_768  # pairs handed to the student at once: loading it takes seconds


class SelfFilter(Rule):
    """Drops traces that a student of the round before contradicts: mostly false negatives (Rank1, another 10 %).

    The student judges every pair that is left; where its verdict is not the teacher's, with at least `certainty`, the
    trace goes. `spare` names label origins, with `+` for their positives, that are never dropped: Rank1 kept
    all official positives (`[judged+]`).
    """

    name: ClassVar[str] = "self_filter"
    group: ClassVar[bool] = True
    certainty: float = Field(0.5, ge=0.5, lt=1, description="of the student: its score, or one minus it")
    spare: list[str] = []

    def uses(self) -> tuple[str, ...]:
        return ("score",)

    def bind(self, tools: Tools) -> Any:
        """With the student. Raises ConfigError where there is none."""
        return _Bound(self, need(tools.score, self.name, "needs the student of a first round; set rounds: 2"))

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Raises ConfigError: without a student there is nothing to say."""
        found: Mapping[Key, str | Pair] = self.bind(Tools())(rows)
        return found

    def spares(self, pair: Pair) -> bool:
        """Whether the pair is never dropped."""
        origin = pair.label_origin or "unlabelled"
        return origin in self.spare or (bool(pair.relevant) and f"{origin}+" in self.spare)


class _Bound:
    name = SelfFilter.name

    def __init__(self, rule: SelfFilter, score: Score) -> None:
        self.rule, self.score = rule, score

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        out: dict[Key, str | Pair] = {}
        left = iter(rows)
        while chunk := list(islice(left, CHUNK)):
            asked = {
                pair.pair_id: pair for pair, trace in chunk if trace.verdict is not None and not self.rule.spares(pair)
            }
            found = dict(zip(asked, self.score(list(asked.values())), strict=True)) if asked else {}
            for _, trace in chunk:
                if trace.pair_id in found and (reason := self._opposed(trace, found[trace.pair_id].score)):
                    out[trace.pair_id, trace.sample] = reason
        return out

    def _opposed(self, trace: Trace, score: float) -> str | None:
        relevant = score > 0.5
        if relevant == says_relevant(trace) or max(score, 1 - score) < self.rule.certainty:
            return None
        return f"the first round's student says {'true' if relevant else 'false'}, the teacher the opposite"
