"""Near duplicate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from distill.minhash import near_duplicates
from distill.records import Pair
from filters.base import Key, Row, Rule


class NearDuplicate(Rule):
    """Drops all but the first (by pair_id and sample) of texts that are nearly the same, by MinHash of word 5-grams.

    `of: pairs` compares query and passage of different pairs, `of: traces` the reasoning of all traces. `similarity` is
    Jaccard's, estimated from 112 hashes (standard error 0.04 at 0.8). Needs `rensa`; holds 448 bytes a text.
    Not covered: paraphrases, and texts that share less than half of their 5-grams.
    """

    name: ClassVar[str] = "near_duplicate"
    group: ClassVar[bool] = True
    of: Literal["pairs", "traces"] = "pairs"
    similarity: float = Field(0.8, ge=0.6, le=1)

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Each later one with the first that it resembles."""
        keys: list[Key] = []
        place: dict[str, int] = {}  # of pairs: all samples of a pair share its text

        def texts() -> Iterator[str]:
            for pair, trace in rows:
                key = (trace.pair_id, trace.sample)
                if self.of == "traces":
                    keys.append(key)
                    yield trace.reasoning
                elif trace.pair_id not in place:
                    place[trace.pair_id] = len(place)
                    keys.append(key)
                    yield f"{pair.query} {pair.passage}"
                else:
                    samples.setdefault(trace.pair_id, []).append(key)

        samples: dict[str, list[Key]] = {}
        twins = near_duplicates(texts(), self.similarity)
        out: dict[Key, str | Pair] = {}
        for later, first in twins.items():
            reason = f"nearly the same {self.of[:-1]}: {keys[first][0]}"
            if self.of == "traces":
                reason += f", sample {keys[first][1]}"
            for key in (keys[later], *samples.get(keys[later][0], ())):
                out[key] = reason
        return out
