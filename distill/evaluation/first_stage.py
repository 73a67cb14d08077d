"""The lists of a set that every system reranks: BM25's, those of a TREC run, or the set's own.

Called by `distill.pipeline.sets`. Passages without a text, excluded ones, and passages that are the query itself are
taken out before a list is cut, so that the first stage is measured on the very lists that the students rerank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from distill.disk_map import DiskMap
from distill.errors import DataError
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites.base import Suite
from distill.files.gaps import Gaps
from distill.files.runs import ranked
from distill.files.sorted_runs import read_scores
from distill.texts import is_the_query

CHUNK = 1_000  # queries that BM25 is asked together
COPIES = 10  # so many passages equal to the query are made good from below the depth
Ranked = list[tuple[str, float]]


class FirstStage(DiskMap[Ranked]):
    """{query: [(passage, score)]}, best first, [] of nothing found, on disk; `left_out` is {what was taken out: how
    many}, `pairs` the length of all lists."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, int] = {}
        self.pairs = 0


class Index(Protocol):
    """What is needed of `distill.pairs.bm25.Bm25`."""

    @property
    def ids(self) -> Iterable[str]: ...
    def top(self, queries: Mapping[str, str], k: int) -> dict[str, Ranked]: ...
    def scores(self, query: str) -> Sequence[float]: ...


def of_bm25(suite: Suite, entry: SetSettings, index: Index) -> FirstStage:
    """BM25's lists. A set's own lists are ranked whole, by query and instruction together (FollowIR's baseline)."""
    if suite.candidates is None:
        spare = max(map(len, suite.excluded.values()), default=0) + (0 if entry.self_retrieval else COPIES)
        return _kept(suite, entry, _top(suite.queries, index, entry.depth + spare), "BM25")
    return _kept(suite, entry, _own_lists(suite, suite.candidates, index), "BM25")


def _top(queries: Mapping[str, str], index: Index, depth: int) -> Iterator[Ranked]:
    rows = iter(queries.items())
    while chunk := dict(islice(rows, CHUNK)):
        lists = index.top(chunk, depth)
        yield from (lists.get(query, []) for query in chunk)


def _own_lists(suite: Suite, candidates: Mapping[str, Sequence[str]], index: Index) -> Iterator[Ranked]:
    place = {doc: number for number, doc in enumerate(index.ids)}
    for query, text in suite.queries.items():
        instruction = suite.instructions.get(query)
        scores = index.scores(f"{text} {instruction}" if instruction else text)
        yield ranked({doc: float(scores[place[doc]]) for doc in candidates[query]})


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
