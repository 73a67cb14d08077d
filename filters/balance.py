"""The filter `balance`; the engine calls it once for all traces that are left."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import Filter, GroupFilter, Key, Row, Tools


class Balance(GroupFilter):
    """Caps, and a ratio of negatives to positives, drawn with the seed: the same rows are drawn in any order of rows.

    Applied in this order: `per_query`, `per_source`, `per_label` (caps on traces), then `negatives_per_positive` over
    the whole set. The draw is by a hash of seed, pair and sample, so a smaller cap's rows are part of a larger one's.
    """

    per_query: int | None = Field(None, ge=1, description="most traces of one query; default: no cap")
    per_source: int | dict[str, int] | None = Field(
        None, description="one cap, or {qrels: 1000, bm25: 500}; default: no cap"
    )
    per_label: int | None = Field(
        None, ge=1, description="relevant, not relevant and unlabelled apart; default: no cap"
    )
    negatives_per_positive: float | None = Field(
        None, gt=0, description="most negatives to one positive; default: no bound"
    )
    seed: int | None = Field(None, description="of the draw; default: the run's")

    def prepare(self, tools: Tools) -> Filter:
        """With the run's seed, where none is set."""
        return self if self.seed is not None else self.model_copy(update={"seed": tools.seed})

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Reasons for what is beyond a cap."""
        # (draw, key), query, source and side of each trace that is left, in the order of the draw
        left = sorted((self._draw(t), p.query_id, p.source.partition(":")[0], _side(p.relevant)) for p, t in rows)
        rejected: dict[Key, str | Pair] = {}
        caps = ((1, self.per_query, "query"), (2, self.per_source, "source"), (3, self.per_label, "label"))
        for column, cap, what in caps:
            if cap is None:
                continue
            seen: Counter[str] = Counter()
            within = []
            for drawn in left:
                group = str(drawn[column])
                most = cap.get(group) if isinstance(cap, dict) else cap
                seen[group] += 1
                if most is not None and seen[group] > most:
                    rejected[drawn[0][1]] = f"more than {most} traces of one {what}"
                else:
                    within.append(drawn)
            left = within
        if self.negatives_per_positive is not None:
            sides: dict[str, list[Key]] = defaultdict(list)
            for (_, key), _, _, side in left:
                sides[side].append(key)
            most = int(self.negatives_per_positive * len(sides["relevant"]))
            for key in sides["not relevant"][most:]:
                rejected[key] = f"more than {self.negatives_per_positive:g} negatives for each positive"
        return rejected

    def _draw(self, trace: Trace) -> tuple[bytes, Key]:
        text = f"{self.seed or 0}:{trace.pair_id}:{trace.sample}".encode()
        return hashlib.blake2b(text, digest_size=12).digest(), (trace.pair_id, trace.sample)


def _side(relevant: bool | None) -> str:
    return "unlabelled" if relevant is None else "relevant" if relevant else "not relevant"
