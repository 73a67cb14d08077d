"""What the filters said last time: a changed filter runs again, and those after it; those before it do not.

Beside the run's rows stand, for each shard of traces, its rows that were put out, by which filter of the list and why
(`verdicts/part-*.parquet`), and in `verdicts.json`, written last, a hash for each filter of all that decides what it
says (`filters.engine.cache_keys`). A filter whose hash is still the same, and so are those of all before it, is not
called: what it put out and which pairs it changed are taken over. Only the last run's verdicts are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill import store
from distill.records import Pair, as_dict
from filters.engine.shards import Shard
from filters.engine.write import empty

INDEX = "verdicts.json"
Changes = list[tuple[int, int, Pair]]  # place of the filter in the list, number of the shard, the changed pair


class Cache:
    """The folder of verdicts; None remembers nothing. `keys` are those of the list that runs now."""

    def __init__(self, folder: str | None, keys: Sequence[str]) -> None:
        self.folder, self.keys = folder, list(keys)

    def recall(self, shards: Sequence[Shard]) -> tuple[int, Changes]:
        """Enter what is known into the shards; (how many filters need not run, the pairs that those changed)."""
        found = store.read_json(f"{self.folder}/{INDEX}") if self.folder else None
        if not isinstance(found, dict) or found.get("shards") != _shape(shards):
            return 0, []
        known = 0
        while known < min(len(self.keys), len(found["keys"])) and self.keys[known] == found["keys"][known]:
            known += 1
        if not known:
            return 0, []
        for shard in shards:
            rows = _table(self.file(shard))
            shard.fates = {row: (place, reason) for row, place, reason in rows if place < known}
        changed = [(place, number, Pair(**pair)) for place, number, pair in found["changed"] if place < known]
        for _, number, pair in changed:
            shards[number].changed[pair.pair_id] = pair
        return known, changed

    def file(self, shard: Shard) -> str | None:
        """Where a shard's verdicts stand; None where nothing is remembered."""
        return f"{self.folder}/{shard.file}" if self.folder else None

    def forget(self) -> None:
        """Before anything new is written."""
        if self.folder:
            fs, inner = store.filesystem(self.folder)
            if fs.exists(f"{inner}/{INDEX}"):
                fs.rm_file(f"{inner}/{INDEX}")
            empty(self.folder)

    def keep(self, shards: Sequence[Shard], changed: Changes) -> None:
        """Say that all files are there."""
        if self.folder:
            pairs = [[place, number, as_dict(pair)] for place, number, pair in changed]
            store.write_json(f"{self.folder}/{INDEX}", {"keys": self.keys, "shards": _shape(shards), "changed": pairs})


def _shape(shards: Sequence[Shard]) -> list[list[Any]]:
    return [[shard.path.rsplit("/", 1)[-1], shard.rows] for shard in shards]


def _table(path: str | None) -> list[tuple[int, int, str]]:
    import pyarrow.parquet as pq

    fs, inner = store.filesystem(str(path))
    with fs.open(inner, "rb") as source:
        table = pq.read_table(source)
    return list(zip(*(table[name].to_pylist() for name in ("row", "place", "reason")), strict=True))
