"""The same row filters through `datasets.filter`: `python benchmarks/filters/peer_datasets.py DIR CASE`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cases
import predicate


def main() -> None:
    """One JSON line."""
    import datasets

    folder, case = Path(sys.argv[1]), sys.argv[2]
    shards = predicate.joined(folder)
    with tempfile.TemporaryDirectory() as cache:
        wall, processor = time.monotonic(), cases.seconds()
        data = datasets.load_dataset("parquet", data_dir=str(shards), split="train", cache_dir=cache)
        kept = data.filter(predicate.Keep(cases.CASES[case], predicate.tokenizer(folder)), num_proc=2)
        kept.to_parquet(f"{cache}/kept.parquet")
        wall, processor = time.monotonic() - wall, cases.seconds() - processor
    print(json.dumps(cases.line("datasets.filter", case, len(data), len(kept), wall, processor)))


if __name__ == "__main__":
    main()
