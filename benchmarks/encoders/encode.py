"""Encoding with `distill.retrieval` next to sentence-transformers' own `encode`, in turns, and the memory of an index.

    python benchmarks/encoders/encode.py models/minilm data/real/scifact/corpus.jsonl [--texts 512] [--rounds 3]
    python benchmarks/encoders/encode.py models/minilm data/real/scifact/corpus.jsonl --index 100000

The second makes an index of so many short texts (the corpus' sentences, again and again with a number), and prints the
peak of the resident memory as it grows.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from distill.disk_map import DiskMap
from distill.files.texts import passage_rows
from distill.retrieval.encoder import load_encoder
from distill.retrieval.index import build


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, default=512, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--index", type=int, metavar="N", help="make an index of N short passages in place of that")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.index:
        return memory(given.model, given.corpus, given.index)
    speed(given.model, [row.text for row in islice(passage_rows(given.corpus), given.texts)], given.rounds)


def speed(model: str, texts: list[str], rounds: int) -> None:
    """Texts a second of both, in turns, and how far apart their vectors are."""
    from sentence_transformers import SentenceTransformer

    theirs, ours = SentenceTransformer(model), load_encoder(model)
    seconds: dict[str, list[float]] = {"sentence-transformers": [], "distill": []}
    theirs.encode_document(texts[:32]), ours.passages(texts[:32])
    for _ in range(rounds):
        started = time.perf_counter()
        vectors = theirs.encode_document(texts, normalize_embeddings=True)
        seconds["sentence-transformers"].append(time.perf_counter() - started)
        started = time.perf_counter()
        own = ours.passages(texts)
        seconds["distill"].append(time.perf_counter() - started)
    rates = {name: len(texts) / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:.1f} passages/s (median of {rounds})")
    print(f"ratio {rates['distill'] / rates['sentence-transformers']:.2f}")
    print(f"cosine of both vectors: least {float((np.asarray(vectors) * own).sum(axis=1).min()):.5f}")


def memory(model: str, corpus: Path, passages: int) -> None:
    """The peak memory while an index of so many passages is made."""
    made: DiskMap[str] = DiskMap(islice(_short(corpus), passages))
    encoder = load_encoder(model)
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{done:,} of {total:,}: peak {peak:,.0f} MiB, {done / (time.perf_counter() - started):.0f} passages/s")

    with tempfile.TemporaryDirectory() as folder:
        index = build(Path(folder), encoder, made, progress)
        started = time.perf_counter()
        index.top(encoder.queries(["what raises the risk of heart disease"] * 100), 100)
        print(f"100 queries, the best 100 of each: {time.perf_counter() - started:.2f} s")
        progress(passages, passages)


def _short(corpus: Path) -> Iterator[tuple[str, str]]:
    for turn in count():
        for row in passage_rows(corpus):
            yield f"{turn:04}-{row.id}", f"{turn} {' '.join(row.text.split()[:8])}"


if __name__ == "__main__":
    main()
