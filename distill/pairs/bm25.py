"""BM25 by bm25s with the settings of Anserini's flat index: the first stage, and the miner of negatives."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distill.disk_map import sorted_items
from distill.pairs.analysis import Analysis
from distill.pairs.postings import Postings
from distill.processes import cores
from distill.text_file import TextFile

K1, B = 0.9, 0.4
BLOCK = 1024  # queries retrieved together: bounds what is held of their lists
THREADED = 64  # fewer queries are not worth threads
COMPILE_FROM = 3_000_000_000  # queries x passages from which numba's five seconds of compiling pay


class Bm25:
    """An index over passages: lucene's BM25 with K1 and B, stop words and stemmer of the language.

    On SciFact and Cranfield nDCG@10 is 0.676 and 0.491 (tests/pairs). In memory are the vocabulary and some 12 bytes a
    passage; the index lies in unnamed files.
    """

    def __init__(self, passages: Mapping[str, str], language: str = "en") -> None:
        import bm25s

        self._analysis = Analysis(language)
        self.ids = TextFile()  # of the passages, in their order
        self._vocabulary = {"": 0}  # the term of a query that knows no other: in no passage
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
        self._postings = Postings(self._terms(passages), K1, B)
        self.ids.flush()
        self._index.vocab_dict, self._index.nonoccurrence_array = self._vocabulary, None
        self._index.unique_token_ids_set = range(len(self._vocabulary))
        self._set_scores(self._postings.scores, self._postings.passages)

    def _terms(self, passages: Mapping[str, str]) -> Iterator[list[int]]:
        vocabulary, number = self._vocabulary, self._vocabulary.setdefault
        for key, text in sorted_items(passages):
            self.ids.append(key)
            yield [number(term, len(vocabulary)) for term in self._analysis(text)]

    def _set_scores(self, scores: Any, passages: Any) -> None:
        starts, count = self._postings.starts, self._postings.count
        self._index.scores = {"data": scores, "indices": passages, "indptr": starts, "num_docs": count}

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(
        self, queries: Mapping[str, str], k: int, of: int | None = None
    ) -> Iterator[tuple[Sequence[str], Any, Any]]:
        """(query ids, places in `ids`, scores) of BLOCK queries at a time; arrays of (queries, k) as `retrieve` orders.

        A place whose score is 0 shares no term with the query. `of` is how many queries there are in all, where these
        are a part of them.
        """
        names = list(queries)
        self.backend_for(of or len(names))
        for start in range(0, len(names), BLOCK):
            part = names[start : start + BLOCK]
            yield part, *self.retrieve(self.tokens([queries[q] for q in part]), k)

    def backend_for(self, queries: int) -> str:
        """Choose and return bm25s's backend for so many queries: numba, where it is installed and compiling it pays."""
        pays = queries * len(self.ids) >= COMPILE_FROM and importlib.util.find_spec("numba") is not None
        self._index.backend = "numba" if pays else "numpy"
        if pays:  # it takes arrays only
            self._set_scores(self._postings.scores.mapped(), self._postings.passages.mapped())
        return str(self._index.backend)

    def retrieve(self, tokens: list[list[int]], k: int) -> tuple[Any, Any]:
        """(places, scores) of queries as `tokens` gives them, by as many threads as there are cores.

        Ordered by score, then id, descending, as trec_eval does, and cut in that order: where the last place is a tie
        with passages behind it, which bm25s cuts as it comes, the query is scored again.
        """
        import numpy as np

        threads = cores() if len(tokens) >= THREADED else 0
        k = min(k, len(self.ids))
        more = min(k + 1, len(self.ids))  # one more shows whether the last place is a tie
        top = self._index.retrieve(tokens, k=more, show_progress=False, n_threads=threads)
        places, scores = top.documents.astype(np.int64), top.scores
        order = np.lexsort((-places, -scores), axis=1)
        places, scores = np.take_along_axis(places, order, 1), np.take_along_axis(scores, order, 1)
        for row in np.flatnonzero((scores[:, k - 1] == scores[:, -1]) & (scores[:, -1] > 0)) if more > k else ():
            every = self._index.get_scores(tokens[row])
            near = np.flatnonzero(every >= np.partition(every, -k)[-k])
            best = near[np.lexsort((-near, -every[near]))][:k]
            places[row, :k], scores[row, :k] = best, every[best]
        return places[:, :k], scores[:, :k]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's known terms by number; the empty term where it has none, which no passage holds."""
        known = self._vocabulary
        nothing = [known[""]]
        return [[known[t] for t in self._analysis(text) if t in known] or nothing for text in texts]

    def scores(self, query: str) -> Any:
        """Every passage's score for one query: an array in the order of `ids`."""
        return self._index.get_scores(self.tokens([query])[0])

    def top(self, queries: Mapping[str, str], k: int) -> dict[str, list[tuple[str, float]]]:
        """{query: [(passage, score)]}, best first, ties by passage id, descending; of passages that share a word."""
        lists = {}
        for names, places, scores in self.blocks(queries, k):
            for query_id, row, row_scores in zip(names, places.tolist(), scores.tolist(), strict=True):
                lists[query_id] = [
                    (self.ids[at], score) for at, score in zip(row, row_scores, strict=True) if score > 0
                ]
        return lists
