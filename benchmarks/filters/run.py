"""Throughput of the filters: `python benchmarks/filters/run.py DIR N [CASE...]`, one JSON line a case.

Wall and processor seconds, traces a second and peak memory; Parquet is read and written within the time. The case with
tokens counts them beforehand, as the trace stage does, with a byte-level BPE trained on the first 5,000 traces; what
that took is a line of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cases
import make
import predicate

from filters.base import Tools
from filters.engine.run import filter_folders
from filters.engine.tokens import RowTokens, count_rows
from filters.settings import FilterSettings


def main() -> None:
    """The cases that are named, or all."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    make.make(folder, count)
    for case in sys.argv[3:] or list(cases.CASES):
        tools = Tools()
        if case.endswith("tokens"):
            counts = predicate.Count(predicate.tokenizer(folder))
            wall, processor = time.monotonic(), cases.seconds()
            with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
                count_rows(str(folder / "pairs"), str(folder / "traces"), folder / "tokens.npy", counts, pool)
            wall, processor = time.monotonic() - wall, cases.seconds() - processor
            print(json.dumps(cases.line("ours", "counting tokens", count, count, wall, processor)), flush=True)
            tools = Tools(row_tokens=RowTokens(folder / "tokens.npy"))
        with tempfile.TemporaryDirectory() as out:
            wall, processor = time.monotonic(), cases.seconds()
            found = filter_folders(
                str(folder / "pairs"), str(folder / "traces"), f"{out}/kept", f"{out}/rejected", f"{out}/changed",
                FilterSettings.model_validate(cases.CASES[case]), tools,
            )  # fmt: skip
            wall, processor = time.monotonic() - wall, cases.seconds() - processor
        print(json.dumps(cases.line("ours", case, found["samples"], found["kept"], wall, processor)), flush=True)


if __name__ == "__main__":
    main()
