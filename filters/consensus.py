"""The filter `consensus`; the engine calls it once for all traces that are left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Literal

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import GroupFilter, Key, Row

Keep = Literal["all", "closest", "shortest", "longest", "median"]


class Consensus(GroupFilter):
    """Of several samples of a pair, keeps those that say what most say, where enough of them agree.

    `agreement` is the share of the pair's readable samples that the winning verdict needs; a tie has no winner.
    `keep` says which of the winners stay: all; the one `closest` to the mean grade (ERank, Retro*; ties by length);
    the shortest, longest or the one of median length, in characters. Rows come sorted by pair.
    """

    agreement: float = Field(0.5, gt=0, le=1, description="0.5 is the majority")
    min_samples: int = Field(1, ge=1, description="pairs with fewer readable samples are dropped")
    keep: Keep = Field("shortest", description="which samples of the winning verdict are kept")

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Reasons for the outvoted, the unchosen, and the pairs without agreement."""
        rejected: dict[Key, str | Pair] = {}
        for pair_id, group in groupby(rows, key=lambda row: row[1].pair_id):
            traces = [trace for _, trace in group]
            for trace, reason in self._voted([t for t in traces if t.verdict is not None]):
                rejected[pair_id, trace.sample] = reason
            for trace in traces:
                if trace.verdict is None:
                    rejected[pair_id, trace.sample] = "without a readable verdict it has no vote"
        return rejected

    def _voted(self, traces: list[Trace]) -> Iterable[tuple[Trace, str]]:
        if not traces:
            return
        if len(traces) < self.min_samples:
            yield from ((t, f"fewer than {self.min_samples} readable samples of this pair") for t in traces)
            return
        votes = Counter(trace.verdict for trace in traces).most_common()
        winner, count = votes[0]
        tied = len(votes) > 1 and votes[1][1] == count
        if tied or count < self.agreement * len(traces):
            yield from ((t, f"no agreement: at most {count} of {len(traces)} samples say the same") for t in traces)
            return
        chosen = self._chosen(traces, [t for t in traces if t.verdict == winner])
        for trace in traces:
            if trace.verdict != winner:
                yield trace, f"outvoted: {count} of {len(traces)} samples say otherwise"
            elif trace not in chosen:
                yield trace, f"another sample of this pair was kept: the {self.keep}"

    def _chosen(self, traces: list[Trace], winners: list[Trace]) -> list[Trace]:
        if self.keep == "all":
            return winners
        by_length = sorted(winners, key=lambda t: (len(t.reasoning), t.sample))
        if self.keep == "closest":
            mean = sum(t.verdict or 0 for t in traces) / len(traces)
            return [min(by_length, key=lambda t: abs((t.verdict or 0) - mean))]
        return [by_length[{"shortest": 0, "longest": -1, "median": (len(by_length) - 1) // 2}[self.keep]]]
