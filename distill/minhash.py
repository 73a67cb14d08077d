"""Texts that are nearly the same, by MinHash of word 5-grams (rensa): 448 bytes a text are held."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BANDS, ROWS = 14, 8  # a pair of texts of similarity s meets in a band with 1 - (1 - s^8)^14: 0.92 at 0.8, 0.21 at 0.55
CHUNK = 5000
NGRAM = 5


def near_duplicates(texts: Iterable[str], similarity: float) -> dict[int, int]:
    """{position: the first position whose text is at least so similar}, for those that have one. Read once."""
    import numpy as np

    signatures = _signatures(texts)
    if not len(signatures):
        return {}
    bands = signatures.reshape(len(signatures), BANDS, ROWS)
    factors = np.random.default_rng(0).integers(1, 2**63, ROWS, dtype=np.uint64) | np.uint64(1)
    first_of: dict[int, int] = {}
    for band in range(BANDS):
        bucket = (bands[:, band].astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
        order = np.argsort(bucket, kind="stable")
        met = bucket[order]
        starts = np.flatnonzero(np.r_[True, met[1:] != met[:-1]])
        sizes = np.diff(np.r_[starts, len(met)])
        first = np.repeat(order[starts], sizes)  # stable: the earliest text of each bucket
        before = np.r_[order[:1], order[:-1]]
        for there in (first, before):
            near = (there < order) & (met == bucket[there])
            here, other = order[near], there[near]
            alike = (signatures[here] == signatures[other]).mean(axis=1) >= similarity
            for later, earlier in zip(here[alike].tolist(), other[alike].tolist(), strict=True):
                first_of[later] = min(earlier, first_of.get(later, earlier))
    for later in sorted(first_of):  # a chain ends at its first
        first_of[later] = first_of.get(first_of[later], first_of[later])
    return first_of


class _Hashes(dict[str, int]):
    """Words to 64 bits, the same in every process."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")
        if len(self) < 2_000_000:
            self[word] = value
        return value


def _signatures(texts: Iterable[str]) -> NDArray[np.uint32]:
    """(texts, 112) uint32. Texts shorter than a 5-gram are one shingle; empty ones are never alike."""
    import numpy as np

    hashes = _Hashes()
    parts: list[NDArray[np.uint32]] = []
    rows = iter(texts)
    done = 0
    while chunk := list(islice(rows, CHUNK)):
        words = [list(map(hashes.__getitem__, text.lower().split())) for text in chunk]
        for row, text in enumerate(words):
            if not text:
                text.append(done + row)  # a shingle of its own
            if len(text) < NGRAM:
                text.extend([1] * (NGRAM - len(text)))
        parts.append(_digests(words))
        done += len(chunk)
    return np.concatenate(parts) if parts else np.empty((0, BANDS * ROWS), np.uint32)


def _digests(words: list[list[int]]) -> NDArray[np.uint32]:
    """MinHash of each text's 5-grams; a 5-gram's hash is a polynomial of its words', modulo 2^64."""
    import numpy as np
    from rensa import RMinHash

    lengths = np.array([len(text) for text in words])
    flat = np.fromiter((word for text in words for word in text), np.uint64, lengths.sum())
    grams = np.zeros(len(flat) - NGRAM + 1, np.uint64)
    for place in range(NGRAM):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + flat[place : place + len(grams)]
    grams ^= grams >> np.uint64(29)
    ends = np.cumsum(lengths)
    counts = lengths - NGRAM + 1
    keep = np.ones(len(flat), bool)
    for back in range(1, NGRAM):  # windows that would reach into the next text
        keep[ends - back] = False
    offsets = np.r_[0, np.cumsum(counts)].astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams[keep[: len(grams)]], offsets, BANDS * ROWS, 1)
    return np.array(matrix.to_rows(), dtype=np.uint32)
