"""The filter `near_duplicate`; the engine calls it once for all traces that are left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from pydantic import Field

from distill.minhash import near_duplicates
from distill.records import Pair
from filters.base import GroupFilter, Key, Row


class NearDuplicate(GroupFilter):
    """Drops all but the first (by pair_id and sample) of texts that are nearly the same, by MinHash of word 5-grams.

    `of: pairs` compares query and passage of different pairs, `of: traces` the reasoning of all traces. `similarity` is
    Jaccard's, estimated from 112 hashes (standard error 0.04 at 0.8). Needs `rensa`; holds 448 bytes a text.
    Not covered: paraphrases, and texts that share less than half of their 5-grams.
    """

    of: Literal["pairs", "traces"] = Field("pairs", description="pairs: query and passage; traces: the reasoning")
    similarity: float = Field(
        0.8, ge=0.6, le=1, description="share of common word 5-grams (Jaccard) from which two texts are one"
    )

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Each later one with the first that it resembles."""
        keys: list[Key] = []  # of the texts that are compared
        samples: dict[str, list[Key]] = {}  # of a pair, whose samples share its text

        def texts() -> Iterator[str]:
            for pair, trace in rows:
                key = (trace.pair_id, trace.sample)
                if self.of == "traces":
                    keys.append(key)
                    yield trace.reasoning
                elif trace.pair_id in samples:
                    samples[trace.pair_id].append(key)
                else:
                    samples[trace.pair_id] = [key]
                    keys.append(key)
                    yield f"{pair.query} {pair.passage}"

        rejected: dict[Key, str | Pair] = {}
        for later, first in near_duplicates(texts(), self.similarity).items():
            (pair_id, sample), (first_pair, first_sample) = keys[later], keys[first]
            if self.of == "traces":
                rejected[pair_id, sample] = f"nearly the same trace: {first_pair}, sample {first_sample}"
            else:
                rejected |= dict.fromkeys(samples[pair_id], f"nearly the same pair: {first_pair}")
        return rejected
