"""Negatives that nobody judged: drawn from ranked lists, several miners mixed, known positives excluded.

Called by `distill.pairs.builder`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import ConfigError, DataError
from distill.files.gaps import MISSING, Gaps
from distill.files.runs import ranked, read_run
from distill.inputs import input_path
from distill.pairs.bm25 import Bm25
from distill.pairs.clean import Usable, nearly_equal, of_one_text, word_grams
from distill.pairs.collection import Collection
from distill.pairs.settings import MinerSettings, NegativeSettings
from distill.texts import is_the_query, normalised

Ranked = tuple[Sequence[str], Sequence[float]]  # passages and their scores, best first
ALIKE = 0.4  # the share of common words from which two passages are compared by their 5-grams


@dataclass(frozen=True, slots=True)
class Mined:
    """One unjudged passage of a query: which miner ranked it where, and why it is suspected of being relevant."""

    query_id: str
    doc_id: str
    miner: str
    rank: int
    suspected: str | None = None

    @property
    def source(self) -> str:
        """As a pair's `source` says it: `bm25:7`."""
        return f"{self.miner}:{self.rank}"


class Miner:
    """Draws negatives for the queries of a collection; `counts` says what was left out, and why."""

    def __init__(
        self,
        data: Collection,
        usable: Usable,
        settings: NegativeSettings,
        seed: int,
        base: Path = Path(),
        bm25: Callable[[], Bm25] | None = None,
        self_retrieval: bool = False,
        missing: float = MISSING,
    ) -> None:
        self._data, self._usable, self._settings, self._seed, self._base = data, usable, settings, seed, base
        self._bm25 = bm25 or (lambda: Bm25(data.passages))
        self._self_retrieval, self._missing = self_retrieval, missing
        self.counts: Counter[str] = Counter()
        self._twins = same_queries(data)

    def __call__(self, queries: Sequence[str]) -> Iterator[Mined]:
        """The negatives of each query, in the queries' order; a draw depends on the seed and the query's id alone."""
        miners = self._settings.miners
        texts = {q: self._data.queries[q] for q in queries}
        lists = [self._lists(miner, texts) for miner in miners]
        for rows in zip(*lists, strict=True):
            query_id = rows[0][0]
            yield from self._drawn(query_id, [ranked for _, ranked in rows])

    def _drawn(self, query_id: str, lists: list[Ranked]) -> Iterator[Mined]:
        miners, wanted, query = self._settings.miners, self._settings.per_query, self._data.queries[query_id]
        rng = random.Random(f"negatives:{self._seed}:{query_id}")
        taken = self._known(query_id)
        copies = _Copies(self._data.passages, self._positives(query_id))
        windows = [
            _Draw(rng, miner.first - 1, min(miner.last, len(docs)))
            for miner, (docs, _) in zip(miners, lists, strict=True)
        ]
        limits = [self._limit(query_id, ranked) for ranked in lists]
        mined: list[tuple[int, Mined]] = []
        quotas = _shared(wanted, [miner.share for miner in miners], rng)
        for extra in (False, True):  # first each miner's share; then others fill what a miner lacks
            for number, miner in enumerate(miners):
                quota = wanted - len(mined) if extra else quotas[number]
                docs, scores = lists[number]
                while quota > 0 and (place := windows[number].next()) is not None:
                    doc, limit = docs[place], limits[number]
                    same = self._usable.same(doc)
                    if same in taken or doc in self._usable.bad:
                        continue
                    taken.add(same)
                    if not self._self_retrieval and is_the_query(query_id, query, doc, self._data.passages[doc]):
                        self.counts["the query itself"] += 1
                        continue
                    if copies.include(doc):
                        self.counts["nearly a positive"] += 1
                        continue
                    reason = None
                    if limit is not None and scores[place] > limit[0]:
                        self.counts["suspected"] += 1
                        if self._settings.suspected == "drop":
                            continue
                        reason = f"scores {scores[place] / limit[1]:.2f} of the best positive"
                    mined.append((number, Mined(query_id, doc, miner.miner, place + 1, reason)))
                    quota -= 1
        self.counts["missing"] += wanted - len(mined)
        yield from (negative for _, negative in sorted(mined, key=lambda pair: (pair[0], pair[1].rank)))

    def _known(self, query_id: str) -> set[str]:
        """Passages of which the source says something, for this query or one of the same text; equal texts included."""
        same = self._usable.same
        known: set[str] = set()
        for query in self._twins.get(query_id, [query_id]):
            known |= {same(d) for d in self._data.qrels.get(query, {})}
            known |= {same(d) for d in self._data.unlabelled.get(query, ())}
        return known

    def _positives(self, query_id: str) -> list[str]:
        labels = [self._data.qrels.get(query, {}) for query in self._twins.get(query_id, [query_id])]
        positives = {doc: None for grades in labels for doc, grade in grades.items() if grade > 0}
        return [doc for doc in positives if doc in self._data.passages]

    def _limit(self, query_id: str, ranked: Ranked) -> tuple[float, float] | None:
        """(the score above which a passage is suspected, the best positive's); None where the list cannot say."""
        above = self._settings.suspect_above
        if above is None:
            return None
        grades = self._data.qrels.get(query_id, {})
        best = max((score for doc, score in zip(*ranked, strict=True) if grades.get(doc, 0) > 0), default=0.0)
        return (above * best, best) if best > 0 else None

    # --- the lists -----------------------------------------------------------------------------------------------

    def _lists(self, miner: MinerSettings, queries: Mapping[str, str]) -> Iterator[tuple[str, Ranked]]:
        """(query, its list down to the last rank) for every query."""
        if miner.miner == "bm25":
            yield from self._by_bm25(miner.last, queries)
        elif miner.miner == "random":
            ids = sorted(self._data.passages)
            for query_id in queries:
                rng = random.Random(f"random:{self._seed}:{query_id}")
                docs = rng.sample(ids, min(len(ids), miner.last))
                yield query_id, (docs, [0.0] * len(docs))
        elif miner.miner == "listed":
            for query_id in queries:
                docs = self._data.listed.get(query_id, [])
                yield query_id, (docs, [0.0] * len(docs))
        else:
            lists = self._of_run(miner, queries) if miner.miner == "run" else self._dense(miner, queries)
            for query_id in queries:
                ranked = lists.get(query_id, [])
                yield query_id, ([doc for doc, _ in ranked], [score for _, score in ranked])

    def _by_bm25(self, last: int, queries: Mapping[str, str]) -> Iterator[tuple[str, Ranked]]:
        index = self._bm25()
        for names, places, scores in index.blocks(queries, last):
            ids = index.ids
            for query_id, row, row_scores in zip(names, places.tolist(), scores.tolist(), strict=True):
                shared = len(row_scores) if row_scores[-1] > 0 else sum(score > 0 for score in row_scores)
                yield query_id, ([ids[place] for place in row[:shared]], row_scores[:shared])

    def _of_run(self, miner: MinerSettings, queries: Mapping[str, str]) -> Mapping[str, list[tuple[str, float]]]:
        path = input_path(self._base, str(miner.path))
        run = read_run(path, queries)
        if queries and not run:
            raise DataError(f"{path}: has none of the queries; this run is of another set")
        lists: dict[str, list[tuple[str, float]]] = {}
        gaps, passages = Gaps(self._missing, "pairs.missing"), self._data.passages
        for query, scores in run.items():
            lists[query] = [
                (doc, score)
                for doc, score in ranked(scores)[: miner.last]
                if not gaps.lacks(
                    f"passages of {path.name}", "passage", doc, doc in passages, str(path), "the corpus", passages
                )
            ]
        gaps.check()
        self.counts.update(gaps.counts())
        self.counts[f"queries without a list in {path.name}"] += len(queries) - len(run)
        return lists

    def _dense(self, miner: MinerSettings, queries: Mapping[str, str]) -> Mapping[str, list[tuple[str, float]]]:
        from distill.pairs.dense import nearest

        return nearest(str(miner.model), self._base, queries, self._data.passages, miner.last)


class _Draw:
    """Places from `start` to `stop` in a random order, each once, drawn one at a time."""

    def __init__(self, rng: random.Random, start: int, stop: int) -> None:
        self._rng, self._left = rng, list(range(start, stop))

    def next(self) -> int | None:
        left = self._left
        if not left:
            return None
        at = int(self._rng.random() * len(left))
        left[at], left[-1] = left[-1], left[at]
        return left.pop()


class _Copies:
    """Whether a passage is nearly one of the positives; texts are read, and compared closely, only where it may be."""

    def __init__(self, passages: Mapping[str, str], positives: Sequence[str]) -> None:
        self._passages = passages
        self._positives = positives
        self._seen: list[tuple[set[str], Any]] | None = None

    def include(self, doc_id: str) -> bool:
        if not self._positives:
            return False
        if self._seen is None:
            texts = [self._passages[doc] for doc in self._positives]
            self._seen = [(set(text.lower().split()), text) for text in texts]
        text = self._passages[doc_id]
        words = set(text.lower().split())
        near = [other for there, other in self._seen if len(words & there) >= ALIKE * len(words | there)]
        return bool(near) and nearly_equal(text, map(word_grams, near))


def _shared(wanted: int, shares: Sequence[float], rng: random.Random) -> list[int]:
    """`wanted` in whole numbers by the shares; the rest is drawn by the shares' remainders."""
    exact = [wanted * share / sum(shares) for share in shares]
    quotas = [int(each) for each in exact]
    for _ in range(wanted - sum(quotas)):
        rest = [each - have for each, have in zip(exact, quotas, strict=True)]
        number = rng.choices(range(len(shares)), [max(r, 1e-9) for r in rest])[0]
        quotas[number] += 1
    return quotas


def same_queries(data: Collection) -> dict[str, list[str]]:
    """{query: all of its text and instruction, itself included}, case and punctuation apart; of those with others."""

    def mark(query_id: str, text: str) -> str:
        return f"{normalised(text)}\0{data.instructions.get(query_id, '')}"

    marks = ((query_id, mark(query_id, text)) for query_id, text in data.queries.items())
    groups = of_one_text(
        ((query_id, text) for query_id, text in marks if text[0] != "\0"),
        lambda query_id: mark(query_id, data.queries[query_id]),
    )
    return {query_id: group for group in groups for query_id in group}


def check_miners(settings: NegativeSettings, listed: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError where a miner has nothing to draw from."""
    if any(miner.miner == "listed" for miner in settings.miners) and not listed:
        raise ConfigError("pairs.negatives: miner listed needs a source that lists negatives, such as tevatron")


def described(settings: NegativeSettings) -> str:
    """The miners with their ranks, for a line on the terminal."""
    miners = ", ".join(f"{miner.miner} (ranks {miner.first} to {miner.last})" for miner in settings.miners)
    return f"{miners}, {settings.per_query} a query"
