"""The filter `self_filter`; the engine calls it once for all traces that are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from pydantic import Field

from distill.records import Pair, Score, Trace
from filters.base import Filter, GroupFilter, Key, Row, ToolName, Tools, need, says_relevant

CHUNK = 32_768  # pairs that the student gets in one call: loading it takes seconds


class SelfFilter(GroupFilter):
    """Drops traces that a student of the round before contradicts: mostly false negatives (Rank1, another 10 %).

    The student judges every pair that is left; where its verdict is not the teacher's, with at least `certainty`, the
    trace goes. `spare` names label origins, with `+` for their positives, that are never dropped: Rank1 kept
    all official positives (`[judged+]`).
    """

    certainty: float = Field(0.5, ge=0.5, lt=1, description="of the student: its score, or one minus it")
    spare: list[str] = Field([], description="origins of labels whose pairs are never dropped, such as judged")
    _score: Score | None = None

    def uses(self) -> tuple[ToolName, ...]:
        return ("score",)

    def prepare(self, tools: Tools) -> Filter:
        """With the student. Raises ConfigError where there is none."""
        self._score = need(tools.score, self.name, "needs the student of a first round; set rounds: 2")
        return self

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """What the student contradicts."""
        score = need(self._score, self.name, "was not prepared")
        rejected: dict[Key, str | Pair] = {}
        left = iter(rows)
        while chunk := list(islice(left, CHUNK)):
            pairs = {p.pair_id: p for p, trace in chunk if trace.verdict is not None and not self._spares(p)}
            judgements = dict(zip(pairs, score(list(pairs.values())), strict=True)) if pairs else {}
            for _, trace in chunk:
                judgement = judgements.get(trace.pair_id)
                if judgement and (reason := self._contradiction(trace, judgement.score)):
                    rejected[trace.pair_id, trace.sample] = reason
        return rejected

    def _spares(self, pair: Pair) -> bool:
        origin = pair.label_origin or "unlabelled"
        return origin in self.spare or (bool(pair.relevant) and f"{origin}+" in self.spare)

    def _contradiction(self, trace: Trace, score: float) -> str | None:
        relevant = score > 0.5
        if relevant == says_relevant(trace) or max(score, 1 - score) < self.certainty:
            return None
        return f"the first round's student says {'true' if relevant else 'false'}, the teacher the opposite"
