"""Ranked lists by a dense retriever of the user's (extra `dense`: sentence-transformers). Exact search, in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from distill.errors import ConfigError

BLOCK = 8192  # passages embedded, and compared with every query, at a time


def nearest(
    model: str, base: Path, queries: Mapping[str, str], passages: Mapping[str, str], k: int, encoder: Any = None
) -> dict[str, list[tuple[str, float]]]:
    """{query: [(passage, cosine)]}, the `k` nearest, best first, ties by passage id, descending.

    `encoder` has sentence-transformers' `encode_query` and `encode_document`; by default the model of that name, or
    folder next to the configuration. Held: the queries' vectors, one block of passages, the lists so far.
    Raises ConfigError where the package or the model is not there.
    """
    import numpy as np

    encoder = encoder if encoder is not None else _loaded(model, base)
    names, ids = list(queries), sorted(passages, reverse=True)  # so that a stable sort breaks ties
    asked = _unit(encoder.encode_query([queries[q] for q in names]))
    scores = np.full((len(names), 0), 0.0, np.float32)
    places = np.zeros((len(names), 0), np.int64)
    rows, done = iter(ids), 0
    while block := list(islice(rows, BLOCK)):
        near = asked @ _unit(encoder.encode_document([passages[i] for i in block])).T
        scores = np.concatenate([scores, near], axis=1)
        places = np.concatenate([places, np.broadcast_to(np.arange(done, done + len(block)), near.shape)], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, places = np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)
        done += len(block)
    return {
        query: [(ids[at], float(score)) for at, score in zip(row, row_scores, strict=True)]
        for query, row, row_scores in zip(names, places.tolist(), scores.tolist(), strict=True)
    }


def _unit(vectors: Any) -> Any:
    import numpy as np

    rows = np.asarray(vectors, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _loaded(model: str, base: Path) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ConfigError(
            'pairs.negatives: miner dense needs sentence-transformers: pip install "rerank-distill[dense]"'
        ) from None
    name = str(base / model) if (base / model).is_dir() else model
    try:
        return SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"pairs.negatives: the model {name!r} cannot be loaded ({error})") from None
