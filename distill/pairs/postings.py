"""BM25's scores by term, computed and kept on disk, in the form that bm25s retrieves from. Called by `bm25`."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PASSAGES = 20_000  # whose terms are counted together
POSTINGS = 2_000_000  # that are sorted together


class DiskColumn:
    """Numbers in an unnamed file, written once, of which slices are read."""

    def __init__(self, kind: str) -> None:
        import numpy as np

        self._kind = np.dtype(kind)
        self._file = tempfile.TemporaryFile(prefix="distill-bm25-")

    def append(self, values: np.ndarray) -> None:
        """Write values at the end."""
        self._file.write(values.astype(self._kind, copy=False).tobytes())
        self._file.flush()

    def __getitem__(self, places: slice) -> np.ndarray:
        import numpy as np

        size = self._kind.itemsize
        raw = os.pread(self._file.fileno(), int(places.stop - places.start) * size, int(places.start) * size)
        return np.frombuffer(raw, self._kind)

    def mapped(self) -> np.ndarray:
        """The whole, mapped into memory."""
        import numpy as np

        return np.memmap(self._file, self._kind, "r") if self._file.tell() else np.empty(0, self._kind)


class Postings:
    """For each term the passages that have it (`passages`) and its score there (`scores`), from `starts[term]` on.

    The scores are those of bm25s's method `lucene`, bit by bit: the index is bm25s's, made with a bounded memory.
    """

    def __init__(self, terms: Iterator[list[int]], k1: float, b: float) -> None:
        """`terms` are those of each passage, by number."""
        import numpy as np

        lengths, counts, keys, ends = DiskColumn("i4"), DiskColumn("i4"), DiskColumn("i8"), [0]
        frequency = np.zeros(0, np.int64)  # of a term: in how many passages it is
        self.count = 0
        while block := list(islice(terms, PASSAGES)):
            sizes = np.fromiter(map(len, block), np.int64, len(block))
            flat = np.fromiter(chain.from_iterable(block), np.int64, sizes.sum())
            places = np.repeat(np.arange(self.count, self.count + len(block)), sizes)
            there, often = np.unique(flat << 32 | places, return_counts=True)  # by term, then by passage
            frequency = _sum(frequency, np.bincount(there >> 32))
            lengths.append(sizes)
            keys.append(there)
            counts.append(often)
            ends.append(ends[-1] + len(there))
            self.count += len(block)
        self.starts = np.concatenate([[0], np.cumsum(frequency)])
        self.scores, self.passages = DiskColumn("f4"), DiskColumn("i4")
        length = lengths[0 : self.count]
        mean = length.mean() if self.count else 0.0
        inverse = (math.log(1 + (self.count - n + 0.5) / (n + 0.5)) if n else 0.0 for n in frequency.tolist())
        idf = np.fromiter(inverse, np.float32, len(frequency))
        bounds = np.unique(np.searchsorted(self.starts, np.arange(0, ends[-1] + POSTINGS, POSTINGS)))
        for first, last in pairwise(bounds):
            ranges = [_range(keys, start, end, first, last) for start, end in pairwise(ends)]
            there = np.concatenate([keys[start:end] for start, end in ranges])
            often = np.concatenate([counts[start:end] for start, end in ranges]).astype(np.float32)
            order = np.argsort(there, kind="stable")
            there, often = there[order], often[order]
            passages = there & 0xFFFFFFFF
            norm = k1 * ((1 - b) + b * length[passages] / mean) + often
            self.scores.append(idf[there >> 32] * (often / norm))
            self.passages.append(passages)


def _sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    import numpy as np

    size = max(len(one), len(other))
    return np.pad(one, (0, size - len(one))) + np.pad(other, (0, size - len(other)))


def _range(keys: DiskColumn, start: int, end: int, first: int, last: int) -> tuple[int, int]:
    """Where the terms from `first` to below `last` are between two places of the sorted keys."""

    def place(term: int) -> int:
        low, high = start, end
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if keys[middle : middle + 1][0] >> 32 < term else (low, middle)
        return low

    return place(first), place(last)
