"""An index of passages on disk: vectors in shards, ids and texts next to them; built resumably, searched exactly.

Called by evaluation's first stage, `distill index` and `distill search`. A folder holds index.json, which says what the
index is of, and for every SHARD passages NNNNN.parquet (doc_id, text) and NNNNN.npy (float16, mapped when searched),
which is written last. Passages are in the order of their ids.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.disk_map import DiskMap, sorted_items
from distill.errors import ConfigError, DataError
from distill.retrieval.encoder import Encoder
from distill.retrieval.search import DECIMALS, nearest_rows
from distill.store import read_json, write_json, write_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SHARD = 4096  # passages that are encoded, written and compared together; a killed build loses at most as many
ABOUT = "index.json"
Ranked = list[tuple[str, float]]


class DenseIndex:
    """A whole index; `model` is the encoder's identity, `name` where it was loaded from. In memory is one shard."""

    def __init__(self, folder: Path) -> None:
        """Raises DataError where the folder holds no index, or one that is not whole."""
        about = read_json(folder / ABOUT)
        if about is None:
            raise DataError(
                f"{folder}: holds no index; make one with `distill index CORPUS --model MODEL --out {folder}`"
            )
        self.folder, self.passages, self.model = folder, int(about["passages"]), str(about["model"])
        self.name = str(about["name"])
        self._shards = -(-self.passages // SHARD)
        whole = sum(_vectors(folder, number).is_file() for number in range(self._shards))
        if whole < self._shards:
            raise DataError(
                f"{folder}: has {whole} of {self._shards} shards; run `distill index` again with the same arguments, "
                "and it goes on from there"
            )

    def __len__(self) -> int:
        return self.passages

    def check(self, encoder: Encoder) -> None:
        """Raise ConfigError where the index was made by another model than this one."""
        if encoder.identity != self.model:
            raise ConfigError(f"{self.folder}: was made with another model; name that one, or make the index again")

    def top(self, queries: np.ndarray, k: int) -> list[Ranked]:
        """The `k` best passages of each query's vector, best first, ties by id, descending."""
        import numpy as np

        blocks = (np.load(_vectors(self.folder, number), mmap_mode="r") for number in range(self._shards))
        rows, scores = nearest_rows(queries, blocks, k)
        ids = self._ids(np.unique(rows))
        return [
            [(ids[row], float(score)) for row, score in zip(of_query, values, strict=True)]
            for of_query, values in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def scores(self, query: np.ndarray, docs: Sequence[str]) -> list[float]:
        """The similarity of one query's vector and each of these passages. Raises KeyError for an unknown one."""
        import numpy as np

        rows = np.array([self._rows[doc] for doc in docs], np.int64)
        scores = np.zeros(len(rows), np.float32)
        for number in np.unique(rows // SHARD).tolist():
            own = rows // SHARD == number
            vectors = np.load(_vectors(self.folder, number), mmap_mode="r")[rows[own] - number * SHARD]
            scores[own] = vectors.astype(np.float32) @ query
        return [float(score) for score in np.round(scores, DECIMALS)]

    @cached_property
    def _rows(self) -> DiskMap[int]:
        """{id: row}, on disk."""
        ids = (name for number in range(self._shards) for name in self._table(number, ["doc_id"])["doc_id"].to_pylist())
        return DiskMap((name, row) for row, name in enumerate(ids))

    def text(self, doc_id: str) -> str:
        """A passage's text. Raises KeyError for one that is not there."""
        import pyarrow.compute as pc

        for number in range(self._shards):
            table = self._table(number, ["doc_id", "text"])
            row = pc.index(table["doc_id"], doc_id).as_py()
            if row >= 0:
                return str(table["text"][row])
        raise KeyError(doc_id)

    def _ids(self, rows: np.ndarray) -> dict[int, str]:
        """{row: id} of these rows, in rising order."""
        ids: dict[int, str] = {}
        for number in dict.fromkeys((rows // SHARD).tolist()):
            own = rows[rows // SHARD == number]
            names = self._table(number, ["doc_id"])["doc_id"].take(own - number * SHARD).to_pylist()
            ids.update(zip(own.tolist(), names, strict=True))
        return ids

    def _table(self, number: int, columns: list[str]) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(_texts(self.folder, number), columns=columns)


def build(
    folder: Path,
    encoder: Encoder,
    passages: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DenseIndex:
    """The index of these passages in `folder`, gone on with from the last whole shard; `progress` gets (done, all).

    Raises ConfigError where the folder holds an index of another model or of other passages, DataError for no passage.
    """
    import numpy as np
    import pyarrow as pa

    if not len(passages):
        raise DataError(f"{folder}: there are no passages to index")
    made_from = {"model": encoder.identity, "corpus": corpus_hash(passages), "passages": len(passages), "shard": SHARD}
    before = read_json(folder / ABOUT)
    if before is not None and {key: before.get(key) for key in made_from} != made_from:
        what = "another model" if before.get("model") != encoder.identity else "other passages"
        raise ConfigError(f"{folder}: holds an index of {what}; name another folder, or remove this one")
    if before is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / ABOUT, {"name": encoder.name, **made_from})
    rows = iter(sorted_items(passages))
    for number in range(-(-len(passages) // SHARD)):
        block = list(islice(rows, SHARD))
        if not _vectors(folder, number).is_file():
            ids, texts = [key for key, _ in block], [text for _, text in block]
            vectors = encoder.passages(texts).astype(np.float16)
            if not np.isfinite(vectors).all():
                raise ConfigError(f"{folder}: vectors are too long for float16; use a model whose similarity is cosine")
            write_table(str(_texts(folder, number)), pa.table({"doc_id": ids, "text": texts}))
            unfinished = _vectors(folder, number).with_suffix(".unfinished")
            with open(unfinished, "wb") as file:
                np.save(file, vectors)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(_vectors(folder, number))
        progress(min((number + 1) * SHARD, len(passages)), len(passages))
    return DenseIndex(folder)


def corpus_hash(passages: Mapping[str, str]) -> str:
    """A hash of ids and texts, whatever their order."""
    total = hashlib.sha256()
    for key, text in sorted_items(passages):
        for part in (key, text):
            data = part.encode("utf-8", "surrogatepass")
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _vectors(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def _texts(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.parquet"
