"""How many tokens each trace's training row has, counted once and kept on disk; the pipeline's filter stage calls it.

A BPE count of a trace takes twice as long as all other row filters together; so it is made when the traces are written
(or when a filter first asks for it) and not again for the same traces and tokenizer. The counts are one sorted array
(`tokens.npy`), mapped into memory by every process that reads it.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.inputs import on_this_node
from distill.records import Pair, Trace
from filters.engine.shards import BATCH, Shard, list_shards, pairs_of, read, read_traces, traces

if TYPE_CHECKING:
    import numpy as np

Count = Callable[[Sequence[tuple[Pair, Trace]]], list[int]]
COLUMNS = [("pair", "S32"), ("sample", "<i4"), ("tokens", "<i4")]
NEAR = 4096  # rows looked up together: filters go through the traces in order


def count_rows(pairs: str, folder: str, out: Path, count: Count, pool: Executor | None = None) -> int:
    """Write the counts of all answered traces of `folder` to `out`; returns how many. For `pool`, `count` must be
    one that can be pickled."""
    import numpy as np

    shards = list_shards(folder, pairs)
    answered: int = sum(read(shard.path, ["error"])["error"].null_count for shard in shards)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp.npy")
    with open(temporary, "wb") as file:  # as np.save writes it, shard by shard
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(COLUMNS)),
            "fortran_order": False,
            "shape": (answered,),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for table in (map if pool is None else pool.map)(_count, shards, [count] * len(shards)):
            file.write(table.tobytes())
    os.replace(temporary, out)
    return answered


def _count(shard: Shard, count: Count) -> np.ndarray:
    """The counts of a shard's answered traces, as COLUMNS."""
    import numpy as np

    table = read_traces(shard)
    pairs = pairs_of(shard, table)
    parts = [np.empty(0, COLUMNS)]
    answered = (trace for trace in traces(table) if trace.error is None)
    while batch := [(pairs[trace.pair_id], trace) for trace in islice(answered, BATCH)]:
        keys = [(trace.pair_id.encode(), trace.sample) for _, trace in batch]
        parts.append(np.array([(*key, n) for key, n in zip(keys, count(batch), strict=True)], COLUMNS))
    return np.concatenate(parts)


class RowTokens:
    """The counts of a file by trace. Pickled as the file's name, which may be a URL of the driver's."""

    def __init__(self, file: str | Path) -> None:
        self.file = file
        self._table: np.ndarray | None = None
        self._near: dict[tuple[bytes, int], int] = {}  # of the rows that follow the one that was asked for last

    def __reduce__(self) -> tuple[type[RowTokens], tuple[str | Path]]:
        return RowTokens, (self.file,)

    def __call__(self, pair: Pair, trace: Trace) -> int:
        """Tokens of prompt, reasoning and verdict. Raises DataError for a trace that was not counted."""
        key = trace.pair_id.encode(), trace.sample
        tokens = self._near.get(key)
        if tokens is None:
            import numpy as np

            if self._table is None:
                self._table = np.load(on_this_node(str(self.file)), mmap_mode="r")
            start = bisect_left(self._table["pair"], key[0])
            self._near = {(p, s): n for p, s, n in self._table[start : start + NEAR].tolist()}
            tokens = self._near.get(key)
        if tokens is None:
            raise DataError(f"{self.file}: holds no count for the trace {trace.pair_id}; remove the file and run again")
        return tokens
