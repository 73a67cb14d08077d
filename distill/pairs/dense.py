"""Ranked lists by a dense retriever of the user's (extra `dense`: sentence-transformers). Exact search, in blocks.

Called by `distill.pairs.negatives`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.disk_map import sorted_keys
from distill.retrieval.encoder import Encoder, TextEncoder, load_encoder
from distill.retrieval.search import nearest_rows
from distill.text_file import TextFile

if TYPE_CHECKING:
    import numpy as np

BLOCK = 4096  # passages embedded, and compared with every query, at a time


def nearest(
    model: str, base: Path, queries: Mapping[str, str], passages: Mapping[str, str], k: int,
    encoder: TextEncoder | None = None,
) -> dict[str, list[tuple[str, float]]]:  # fmt: skip
    """{query: [(passage, similarity)]}, the `k` nearest, best first, ties by passage id, descending.

    `encoder` has sentence-transformers' `encode_query` and `encode_document`; by default the model of that name, or
    folder next to the configuration. Held: the queries' vectors, one block of passages, the lists so far.
    Raises ConfigError where the package or the model is not there.
    """
    loaded = (
        Encoder(encoder, model) if encoder is not None else load_encoder(model, base, "pairs.negatives, miner dense")
    )
    ids = TextFile()

    def blocks() -> Iterator[np.ndarray]:
        names = iter(sorted_keys(passages))
        while block := list(islice(names, BLOCK)):
            for name in block:
                ids.append(name)
            yield loaded.passages([passages[name] for name in block])

    names = list(queries)
    rows, scores = nearest_rows(loaded.queries([queries[name] for name in names]), blocks(), k)
    ids.flush()
    return {
        query: [(ids[row], float(score)) for row, score in zip(of_query, values, strict=True)]
        for query, of_query, values in zip(names, rows.tolist(), scores.tolist(), strict=True)
    }
