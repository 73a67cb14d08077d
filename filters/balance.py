"""Balance."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import Key, Row, Rule, Tools


class Balance(Rule):
    """Caps, and a ratio of negatives to positives, drawn with the seed: the same rows are drawn in any order of rows.

    Applied in this order: `per_query`, `per_source`, `per_label` (caps on traces), then `negatives_per_positive` over
    the whole set. The draw is by a hash of seed, pair and sample, so a smaller cap's rows are part of a larger one's.
    """

    name: ClassVar[str] = "balance"
    group: ClassVar[bool] = True
    per_query: int | None = Field(None, ge=1)
    per_source: int | dict[str, int] | None = Field(None, description="one cap, or {qrels: 1000, bm25: 500}")
    per_label: int | None = Field(None, ge=1, description="relevant, not relevant and unlabelled apart")
    negatives_per_positive: float | None = Field(None, gt=0)
    seed: int | None = None

    def bind(self, tools: Tools) -> Any:
        """With the run's seed, where none is set."""
        return self if self.seed is not None else self.model_copy(update={"seed": tools.seed})

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Reasons for what is beyond a cap."""
        facts = sorted((self._draw(t), p.query_id, p.source.partition(":")[0], _side(p.relevant)) for p, t in rows)
        out: dict[Key, str | Pair] = {}
        caps = ((1, self.per_query, "query"), (2, self.per_source, "source"), (3, self.per_label, "label"))
        for column, cap, what in caps:
            if cap is None:
                continue
            seen: Counter[str] = Counter()
            left = []
            for fact in facts:
                group = str(fact[column])
                most = cap.get(group) if isinstance(cap, dict) else cap
                seen[group] += 1
                if most is not None and seen[group] > most:
                    out[fact[0][1]] = f"more than {most} traces of one {what}"
                else:
                    left.append(fact)
            facts = left
        if self.negatives_per_positive is not None:
            sides: dict[str, list[Key]] = defaultdict(list)
            for fact in facts:
                sides[fact[3]].append(fact[0][1])
            most = int(self.negatives_per_positive * len(sides["relevant"]))
            for key in sides["not relevant"][most:]:
                out[key] = f"more than {self.negatives_per_positive:g} negatives for each positive"
        return out

    def _draw(self, trace: Trace) -> tuple[bytes, Key]:
        lot = f"{self.seed or 0}:{trace.pair_id}:{trace.sample}".encode()
        return hashlib.blake2b(lot, digest_size=12).digest(), (trace.pair_id, trace.sample)


def _side(relevant: bool | None) -> str:
    return "unlabelled" if relevant is None else "relevant" if relevant else "not relevant"
