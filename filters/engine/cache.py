"""The filters' decisions of the last run, so that only a changed filter and those after it run; `run` uses it.

The folder holds, for each shard of traces, its rejected rows, by which filter of the list and why
(`verdicts/part-*.parquet`), and in `verdicts.json`, written last, a hash for each filter of all that decides what it
says (`filters.engine.cache_keys`). A filter whose hash is still the same, and so are those of all before it, is not
called: what it rejected and which pairs it changed are reused. Only the last run's decisions are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill import store
from distill.records import Pair, as_dict
from filters.engine.groups import Changes
from filters.engine.shards import Shard, read

INDEX = "verdicts.json"


class Cache:
    """The folder of decisions; without one nothing is reused. `keys` are those of the list that runs now."""

    def __init__(self, folder: str | None, keys: Sequence[str]) -> None:
        self.folder, self.keys = folder, list(keys)

    def recall(self, shards: Sequence[Shard]) -> tuple[int, Changes]:
        """Enter what is known into the shards; (how many filters need not run, the pairs that those changed)."""
        index = store.read_json(f"{self.folder}/{INDEX}") if self.folder else None
        if not isinstance(index, dict) or index.get("shards") != _names_and_rows(shards):
            return 0, []
        known = 0
        while known < min(len(self.keys), len(index["keys"])) and self.keys[known] == index["keys"][known]:
            known += 1
        if not known:
            return 0, []
        for shard in shards:
            table = read(str(self.file(shard)), ["row", "place", "reason"])
            decisions = zip(*(column.to_pylist() for column in table.columns), strict=True)
            shard.rejections = {row: (place, reason) for row, place, reason in decisions if place < known}
        changed = [(place, number, Pair(**pair)) for place, number, pair in index["changed"] if place < known]
        for _, number, pair in changed:
            shards[number].changed[pair.pair_id] = pair
        return known, changed

    def file(self, shard: Shard) -> str | None:
        """The file of a shard's decisions; None where nothing is kept."""
        return f"{self.folder}/{shard.file}" if self.folder else None

    def forget(self) -> None:
        """Before anything new is written."""
        if self.folder:
            fs, inner = store.filesystem(self.folder)
            if fs.exists(f"{inner}/{INDEX}"):
                fs.rm_file(f"{inner}/{INDEX}")
            store.clear_rows(self.folder)

    def keep(self, shards: Sequence[Shard], changed: Changes) -> None:
        """Say that all files are there."""
        if self.folder:
            pairs = [[place, number, as_dict(pair)] for place, number, pair in changed]
            index = {"keys": self.keys, "shards": _names_and_rows(shards), "changed": pairs}
            store.write_json(f"{self.folder}/{INDEX}", index)


def _names_and_rows(shards: Sequence[Shard]) -> list[list[str | int]]:
    return [[shard.path.rsplit("/", 1)[-1], shard.rows] for shard in shards]
