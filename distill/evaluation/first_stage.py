"""The lists of a set that every system reranks: BM25's, a retriever's, both fused, a TREC run's, or the set's own.

Called by `distill.pipeline.sets`. Passages without a text, excluded ones, and passages that are the query itself are
taken out before a list is cut, so that the first stage is measured on the very lists that the students rerank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from distill.disk_map import DiskMap
from distill.errors import DataError
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites.base import Suite
from distill.files.gaps import Gaps
from distill.files.runs import ranked
from distill.files.sorted_runs import read_scores
from distill.prompts import query_text
from distill.retrieval.encoder import Encoder
from distill.retrieval.fusion import reciprocal_ranks
from distill.retrieval.index import DenseIndex
from distill.texts import is_the_query

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1_000  # queries whose lists are made together
FUSED = 1_000  # passages of each list that are fused
COPIES = 10  # so many passages equal to the query are made good from below the depth
Ranked = list[tuple[str, float]]


class FirstStage(DiskMap[Ranked]):
    """{query: [(passage, score)]}, best first, [] of nothing found, on disk; `left_out` is {what was taken out: how
    many}, `pairs` the length of all lists."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, int] = {}
        self.pairs = 0


class Lists(Protocol):
    """What gives ranked lists; BM25 (Bm25Lists), a retriever (RetrieverLists), or both (HybridLists)."""

    name: str

    def top(self, queries: Mapping[str, str], k: int) -> dict[str, Ranked]:
        """The `k` best passages of the corpus for each query."""

    def order(self, query: str, docs: Sequence[str]) -> Ranked:
        """A set's own list for a query, ranked whole."""


class Bm25Index(Protocol):
    """What is needed of `distill.pairs.bm25.Bm25`."""

    @property
    def ids(self) -> Iterable[str]: ...
    def top(self, queries: Mapping[str, str], k: int) -> dict[str, Ranked]: ...
    def scores(self, query: str) -> Sequence[float]: ...


class Bm25Lists:
    """BM25's lists. A set's own lists are ranked by query and instruction together (FollowIR's baseline)."""

    name = "BM25"

    def __init__(self, suite: Suite, index: Bm25Index) -> None:
        self._suite, self._index, self.top = suite, index, index.top
        self._place = {doc: number for number, doc in enumerate(index.ids)} if suite.candidates is not None else {}

    def order(self, query: str, docs: Sequence[str]) -> Ranked:
        """Its list, ranked."""
        scores = self._index.scores(query_text(self._suite.queries[query], self._suite.instructions.get(query)))
        return ranked({doc: float(scores[self._place[doc]]) for doc in docs})


class RetrieverLists:
    """A retriever's lists, of queries with their instructions."""

    def __init__(self, suite: Suite, index: DenseIndex, encoder: Encoder, name: str) -> None:
        self._suite, self._index, self._encoder, self.name = suite, index, encoder, name

    def top(self, queries: Mapping[str, str], k: int) -> dict[str, Ranked]:
        """The best passages of the corpus."""
        return dict(zip(queries, self._index.top(self._vectors(list(queries)), k), strict=True))

    def order(self, query: str, docs: Sequence[str]) -> Ranked:
        """Its list, ranked."""
        scores = self._index.scores(self._vectors([query])[0], docs)
        return ranked(dict(zip(docs, scores, strict=True)))

    def _vectors(self, queries: Sequence[str]) -> np.ndarray:
        suite = self._suite
        return self._encoder.queries(
            [query_text(suite.queries[query], suite.instructions.get(query)) for query in queries]
        )


class HybridLists:
    """Several lists fused by reciprocal ranks, each of FUSED passages or more."""

    def __init__(self, *lists: Lists) -> None:
        self._lists, self.name = lists, " + ".join(each.name for each in lists)

    def top(self, queries: Mapping[str, str], k: int) -> dict[str, Ranked]:
        """The best passages of either list."""
        tops = [each.top(queries, max(k, FUSED)) for each in self._lists]
        return {query: reciprocal_ranks([top.get(query, []) for top in tops])[:k] for query in queries}

    def order(self, query: str, docs: Sequence[str]) -> Ranked:
        """Its list, ranked."""
        return reciprocal_ranks([each.order(query, docs) for each in self._lists])


def of_lists(suite: Suite, entry: SetSettings, lists: Lists) -> FirstStage:
    """The lists of the corpus, or of a set that has its own, these ranked whole."""
    if suite.candidates is None:
        spare = max(map(len, suite.excluded.values()), default=0) + (0 if entry.self_retrieval else COPIES)
        return _kept(suite, entry, _top(suite.queries, lists, entry.depth + spare), lists.name)
    own = (lists.order(query, suite.candidates[query]) for query in suite.queries)
    return _kept(suite, entry, own, lists.name)


def _top(queries: Mapping[str, str], lists: Lists, depth: int) -> Iterator[Ranked]:
    rows = iter(queries.items())
    while chunk := dict(islice(rows, CHUNK)):
        top = lists.top(chunk, depth)
        yield from (top.get(query, []) for query in chunk)


def of_run(suite: Suite, entry: SetSettings, path: Path) -> FirstStage:
    """A TREC run's lists; a set's own lists in the run's order, what the run lacks last, in the order of the list.

    Raises DataError where the run has none of the set's queries, or names too many passages without a text.
    """
    run = DiskMap(read_scores(path))
    if not any(query in run for query in suite.queries):
        raise DataError(f"{path}: has none of the queries of the set {entry.name!r}; name a run of this set")
    lists = (
        ranked(run.get(query, {}))
        if suite.candidates is None
        else _reordered(run.get(query, {}), suite.candidates[query])
        for query in suite.queries
    )
    first = _kept(suite, entry, lists, path.name)
    others = sum(query not in suite.queries for query in run)
    if others:
        first.left_out[f"queries of {path.name} that the set does not ask"] = others
    return first


def _reordered(scores: Mapping[str, float], candidates: Sequence[str]) -> Ranked:
    known = ranked({doc: scores[doc] for doc in candidates if doc in scores})
    lowest = known[-1][1] if known else 0.0
    return known + [(doc, lowest - at) for at, doc in enumerate((d for d in candidates if d not in scores), 1)]


def _kept(suite: Suite, entry: SetSettings, lists: Iterable[Ranked], name: str) -> FirstStage:
    """The lists, in the order of the queries, without what may not be in them, then cut, but a set's own never.

    Raises DataError as `Gaps.check`.
    """
    gaps = Gaps(entry.missing, f"evaluation.sets, {entry.name}, missing")
    depth = entry.depth if suite.candidates is None else None
    kept = FirstStage()
    left_out: Counter[str] = Counter()
    empty: list[str] = []
    for (query, text), candidates in zip(suite.queries.items(), lists, strict=True):
        excluded, labels = suite.excluded.get(query, frozenset()), suite.qrels.get(query, {})
        rows: Ranked = []
        for doc, score in candidates if text else ():
            if len(rows) == depth:
                break
            if doc in excluded:
                left_out["excluded passages"] += 1
                continue
            has_text = bool(suite.passages.get(doc))
            if gaps.lacks(f"passages of {name}", "passage", doc, has_text, f"{name}, query {query!r}", "the corpus"):
                continue
            own = not entry.self_retrieval and is_the_query(query, text, doc, suite.passages[doc])
            if own and labels.get(doc, 0) <= 0:
                left_out["passages equal to the query itself (self_retrieval: true keeps them)"] += 1
                continue
            rows.append((doc, float(score)))
        kept[query] = rows
        kept.pairs += len(rows)
        empty += [] if rows else [query]
    gaps.check()
    if len(empty) == len(kept):
        raise DataError(f"evaluation.sets, {entry.name}: no query has a passage to rerank (first_stage: {name})")
    if empty:
        left_out[f"queries with an empty list, counted as 0 (such as {empty[0]!r})"] = len(empty)
    kept.left_out = {what: count for what, count in {**gaps.counts(), **left_out}.items() if count}
    return kept
