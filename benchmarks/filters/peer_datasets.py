"""The same row filters through `datasets.filter`: `python benchmarks/filters/peer_datasets.py DIR`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import run

from distill.records import Pair, Trace
from distill.store import schema_of
from filters.build import build
from filters.settings import FilterSettings

_steps: list[Any] = []


def keep(row: dict[str, Any]) -> bool:
    """Whether no filter objects; the columns of the pair come with the trace's, as a joined table has them."""
    if not _steps:
        _steps.extend(build(FilterSettings.model_validate(run.ROW)))
    trace = Trace(**{name: row[name] for name in schema_of(Trace).names})
    pair = Pair(**{name: row[name] for name in schema_of(Pair).names})
    return all(step(pair, trace) is None for step in _steps)


def main() -> None:
    """One JSON line."""
    import datasets
    import pyarrow.parquet as pq

    folder = Path(sys.argv[1])
    joined = folder / "joined"
    if not joined.exists():
        joined.mkdir()
        pairs = pq.read_table(folder / "pairs").drop_columns(["pair_id"])
        traces = pq.read_table(folder / "traces")
        for name in pairs.column_names:  # one trace a pair, both sorted by pair_id
            traces = traces.append_column(name, pairs[name])
        pq.write_table(traces, joined / "part.parquet", row_group_size=50_000)
    with tempfile.TemporaryDirectory() as cache:
        wall, processor = time.monotonic(), run.seconds()
        data = datasets.load_dataset("parquet", data_dir=str(joined), split="train", cache_dir=cache)
        kept = data.filter(keep, num_proc=2)
        kept.to_parquet(f"{cache}/kept.parquet")
        wall, processor = time.monotonic() - wall, run.seconds() - processor
    print(json.dumps({"case": "datasets.filter", "traces": len(data), "kept": len(kept), "wall_s": round(wall, 1),
                      "processor_s": round(processor, 1), "traces_per_s": round(len(data) / wall),
                      "traces_per_s_on_two_cores": round(2 * len(data) / processor)}))  # fmt: skip


if __name__ == "__main__":
    main()
