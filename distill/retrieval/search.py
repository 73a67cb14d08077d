"""Exact search: the passages whose vectors have the highest dot product with a query's, block by block.

Called by `distill.retrieval.index` and the dense miner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

QUERIES = 1024  # compared with a block of passages at a time
DECIMALS = 6  # of a score: below are the rounding errors by which equal vectors of two blocks would differ


def nearest_rows(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, scores) of the `k` best for each query, best first: arrays of (queries, k), fewer where there are fewer.

    `blocks` are passages' vectors, (rows, dimensions) each, numbered through; of equal scores the later row is the
    better. Held are the lists so far and one block.
    """
    import numpy as np

    count = len(queries)
    scores, places = np.zeros((count, 0), np.float32), np.zeros((count, 0), np.int64)
    done = 0
    for block in blocks:
        vectors = np.ascontiguousarray(block.T, np.float32)
        rows = np.arange(done, done + len(block))
        parts = []
        for start in range(0, count, QUERIES):
            part = slice(start, start + QUERIES)
            near = np.round(queries[part] @ vectors, DECIMALS)
            numbered = np.broadcast_to(rows, near.shape)
            near, numbered = _best(near, numbered, k)
            joined = np.concatenate([scores[part], near], 1), np.concatenate([places[part], numbered], 1)
            parts.append(_best(*joined, k))
        scores, places = (np.concatenate(arrays) for arrays in zip(*parts, strict=True)) if parts else (scores, places)
        done += len(block)
    return places, scores


def _best(scores: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best of each row, by score, then place, descending; exact where the last one is a tie."""
    import numpy as np

    if scores.shape[1] > k:
        chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        last = np.take_along_axis(scores, chosen, 1).min(axis=1, keepdims=True)
        for row in np.flatnonzero((scores >= last).sum(axis=1) > k):
            chosen[row] = np.lexsort((-places[row], -scores[row]))[:k]
        scores, places = np.take_along_axis(scores, chosen, 1), np.take_along_axis(places, chosen, 1)
    order = np.lexsort((-places, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
