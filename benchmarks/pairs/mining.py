"""Mining negatives against bm25s's own retrieval, in one run on one index.

    python benchmarks/pairs/mining.py                      # 100,000 queries over 1,000,000 passages of 60 words
    python benchmarks/pairs/mining.py --scale 0.05         # a twentieth of both
    python benchmarks/pairs/mining.py --queries 10000      # the ratio at full size, in a third of the time
    python benchmarks/pairs/mining.py --write              # also writes baseline.json beside this file

The peer is bm25s alone: `retrieve` of the same tokenised queries to the same depth, with the same backend and threads.
Ours is everything between an index and pairs: tokenising, retrieving, drawing by rank, excluding known positives and
their copies, the check for near copies. Passages are synthetic: words drawn by Zipf's law.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from distill.pairs import bm25
from distill.pairs.bm25 import Bm25
from distill.pairs.clean import Usable
from distill.pairs.collection import Collection
from distill.pairs.negatives import Miner
from distill.pairs.passages import Passages
from distill.pairs.settings import CleanSettings, NegativeSettings
from distill.processes import cores

VOCABULARY, WORDS, QUERY_WORDS, DEPTH = 300_000, 60, 7, 50


def passages(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Passages of 60 words, most words rare."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        words = rng.zipf(1.15, (size, WORDS)) % VOCABULARY
        for at, row in enumerate(words.tolist(), start):
            yield str(at), f"d{at:07}", " ".join(f"w{word}x" for word in row)


def main() -> None:
    """Time both and print the ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--queries", type=int, help="so many, whatever the scale")
    parser.add_argument("--numba", action="store_true", help="whatever the scale; by itself only at full scale")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.numba:
        bm25.COMPILE_FROM = 0
    count, asked = round(1_000_000 * args.scale), args.queries or round(100_000 * args.scale)
    clock: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        clock[name] = round(time.perf_counter() - started, 2)
        print(f"{name}: {clock[name]} s", file=sys.stderr, flush=True)
        started = time.perf_counter()

    texts = Passages(passages(count, 0))
    lap("spool")
    rng = np.random.default_rng(1)
    known = rng.integers(0, count, asked).tolist()
    queries, qrels = {}, {}
    for number, at in enumerate(known):
        words = texts[f"d{at:07}"].split()
        queries[f"q{number:06}"] = " ".join(words[i] for i in rng.integers(0, WORDS, QUERY_WORDS))
        qrels[f"q{number:06}"] = {f"d{at:07}": 1}
    lap("queries")
    index = Bm25(texts)
    lap("index")
    usable = Usable(Collection(texts, {}, {}), CleanSettings())
    lap("clean")
    warm = dict(list(queries.items())[:256])
    index.backend_for(len(queries))
    for _ in index.blocks(warm, DEPTH, len(queries)):
        pass
    lap("compile")
    tokens = index.tokens(list(queries.values()))
    started = time.perf_counter()
    index.retrieve(tokens, DEPTH)
    lap("bm25s")
    data = Collection(texts, queries, qrels)
    settings = NegativeSettings(per_query=4, last=DEPTH, suspect_above=0.95)
    found = sum(1 for _ in Miner(data, usable, settings, 0, bm25=lambda: index)(list(queries)))
    lap("mining")
    result: dict[str, Any] = {
        "passages": count,
        "queries": asked,
        "negatives": found,
        "seconds": clock,
        "ratio": round(clock["mining"] / clock["bm25s"], 3),
        "overhead_us_per_query": round((clock["mining"] - clock["bm25s"]) / asked * 1e6, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "backend": index.backend_for(asked),
        "numba": importlib.util.find_spec("numba") is not None,
        "threads": cores(),
        "machine": f"{platform.processor() or platform.machine()}, {cores()} cores",
        "date": date.today().isoformat(),
        "command": " ".join(["python", *sys.argv]),
    }
    print(json.dumps(result, indent=2))
    if args.write:
        Path(__file__).with_name("baseline.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
