"""Parquet, one folder a split, every column of `KeptRow`: what `datasets.load_dataset(folder)` reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from distill import store
from distill.publish.formats.base import ExportCounts, config, in_order
from distill.publish.rows import Kept, KeptRow

USE = """\
```python
from datasets import load_dataset

rows = load_dataset("{address}", split="{split}")
rows[0]["prompt"] + rows[0]["completion"]   # what a student reads and writes
```

`trl sft --dataset_name {address}` trains on `prompt` and `completion`, with the loss on the completion only.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """One pass over the kept rows a split, each streamed into shards; a split without rows has no folder."""
    rows: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for split in in_order(kept.splits()):
        folder = out / "data" / split
        written = store.write_rows(folder, kept.rows(split), KeptRow, presorted=True)["rows"]
        if not written:
            shutil.rmtree(folder)
            continue
        rows[split] = written
        sizes[split] = sum(shard.stat().st_size for shard in folder.glob("*.parquet"))
    splits = list(rows)
    use = USE.replace("{split}", splits[0])
    info = {
        "features": [{"name": each.name, "dtype": str(each.type)} for each in store.schema_of(KeptRow)],
        "splits": [{"name": name, "num_bytes": sizes[name], "num_examples": rows[name]} for name in splits],
        "download_size": sum(sizes.values()),
        "dataset_size": sum(sizes.values()),
    }
    return ExportCounts(rows, [config("default", splits, "data/{split}/*.parquet")], use, info=info)
