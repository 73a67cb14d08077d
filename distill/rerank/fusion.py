"""A student's margin and the first stage's score as one score, by a weight chosen on a development set.

Both are normalised by query as z-scores: (value - mean) / standard deviation over the query's list. Unlike min-max, a
z-score does not hang on the two extremes of a list alone. A passage without a first-stage score takes the lowest of its
list; where no passage of a query has one, the margin alone ranks it. Called by the evaluate stage, `distill rerank
--fuse`, `distill calibrate` and the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import fmean, pstdev

from distill.disk_map import DiskMap
from distill.errors import InputError
from distill.files.qrels import Qrels
from distill.files.runs import Rankings, ranked
from distill.records import Judgement
from distill.statistics.ndcg import CUTOFF, ndcg

STEPS = 20  # weights 0, 0.05, ..., 1 are tried


@dataclass(frozen=True, slots=True)
class Fusion:
    """The first stage's weight from 0 to 1, the margin has the rest; and nDCG@10 on the development set: fused with
    this weight, by the margin `alone`, by the `first_stage` alone; over `queries` queries."""

    weight: float
    fused: float
    alone: float
    first_stage: float
    queries: int

    def text(self) -> str:
        """One line for the terminal."""
        return (
            f"weight of the first stage {self.weight:g}; nDCG@{CUTOFF} on the development set {self.fused:.4f} fused, "
            f"{self.alone:.4f} alone, {self.first_stage:.4f} the first stage"
        )


def fuse(margins: Mapping[str, float], first: Mapping[str, float], weight: float) -> dict[str, float]:
    """{passage: fused score} of one query; `first` may lack passages."""
    known = [first[doc] for doc in margins if doc in first]
    lowest = min(known, default=0.0)
    of_margin = _z([*margins.values()])
    if not known:
        return dict(zip(margins, of_margin, strict=True))
    of_first = _z([first.get(doc, lowest) for doc in margins])
    return {
        doc: weight * score + (1 - weight) * margin
        for doc, score, margin in zip(margins, of_first, of_margin, strict=True)
    }


def fuse_all(margins: Rankings, first: Rankings, weight: float) -> DiskMap[dict[str, float]]:
    """{query: {passage: fused score}}."""
    return DiskMap((query, fuse(scores, first.get(query, {}), weight)) for query, scores in margins.items())


def choose(margins: Rankings, first: Rankings, qrels: Qrels) -> Fusion:
    """The weight with the highest mean nDCG@10 over the judged queries of `margins`; of equal ones the nearest to 0.5.

    Raises InputError where none of these queries has a relevant passage: nothing can be chosen then.
    """
    queries = [q for q in sorted(margins) if max(qrels.get(q, {}).values(), default=0) > 0]
    if not queries:
        raise InputError("fusion: no query of the development set has a relevant passage; judge more")
    quality = {
        weight: fmean(_ndcg(fuse(margins[q], first.get(q, {}), weight), qrels[q]) for q in queries)
        for weight in (step / STEPS for step in range(STEPS + 1))
    }
    best = max(quality, key=lambda weight: (round(quality[weight], 9), -abs(weight - 0.5)))
    fused, alone, of_first = (round(quality[weight], 4) for weight in (best, 0.0, 1.0))
    return Fusion(best, fused, alone, of_first, len(queries))


def margins_of(judgements: Iterable[Judgement]) -> DiskMap[dict[str, float]]:
    """{query: {passage: log-odds}}, on disk; fast where the judgements come query by query."""
    margins: DiskMap[dict[str, float]] = DiskMap()
    for query, rows in groupby(judgements, attrgetter("query_id")):
        scores = {row.doc_id: row.margin for row in rows}
        if not margins.add(query, scores):
            margins[query] = margins[query] | scores
    return margins


def _z(values: Sequence[float]) -> list[float]:
    """The values with mean 0 and standard deviation 1; all 0 where they are equal."""
    mean, spread = fmean(values), pstdev(values)
    return [(value - mean) / spread if spread else 0.0 for value in values]


def _ndcg(scores: Mapping[str, float], labels: Mapping[str, float]) -> float:
    return float(ndcg([labels.get(doc, 0.0) for doc, _ in ranked(scores)[:CUTOFF]], list(labels.values())))
