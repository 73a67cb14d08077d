"""The peak memory of `distill rerank` by the number of pairs, with a backend that answers without computing.

    python benchmarks/scoring/memory.py MODEL [--pairs 200000 1000000]

MODEL is a folder whose tokenizer is used, such as `make real-base` makes. A hundred passages a query, each passage in
five lists. Printed as JSON for each number: the seconds, the peak of the largest process in MB, and its ratio to the
first number's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPTH, LISTS = 100, 5
ENGINE = """
from distill.rerank.backends.base import Backend, Result


class Constant(Backend):
    free = 1024

    def __init__(self, form):
        super().__init__(form)
        self.tasks = []

    def add(self, task):
        self.tasks.append(task)

    def step(self):
        tasks, self.tasks = self.tasks, []
        return [(task, Result([], "read", [-0.5 - len(task.ids) / 1000, -1.5])) for task in tasks]
"""


def make(folder: Path, pairs: int) -> None:
    """The files of a run of so many pairs, and the backend."""
    count = max(DEPTH, pairs // LISTS)
    with open(folder / "corpus.jsonl", "w") as out:
        for doc in range(count):
            out.write(json.dumps({"_id": f"d{doc}", "text": f"Passage {doc} is about thing {doc % 9973}"}) + "\n")
    with open(folder / "queries.jsonl", "w") as queries, open(folder / "run.trec", "w") as run:
        for query in range(pairs // DEPTH):
            queries.write(json.dumps({"_id": f"q{query}", "text": f"which thing is {query}"}) + "\n")
            for rank in range(DEPTH):
                run.write(f"q{query} Q0 d{(query * DEPTH + rank) % count} {rank + 1} {DEPTH - rank} x\n")
    (folder / "engine.py").write_text(ENGINE)


def measured(model: str, pairs: int) -> dict[str, float]:
    """One run of the command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, pairs)
        command = [sys.executable, "-m", "distill.cli", "rerank", "--model", str(Path(model).resolve())]
        command += ["--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--run", "run.trec", "--out", "out.trec"]
        command += ["--mode", "direct", "--backend", "engine.py:Constant", "--calibration", "none"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
        started = time.monotonic()
        with open(folder / "said.txt", "wb") as said:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        if status or sum(1 for _ in open(folder / "out.trec", "rb")) != pairs:
            sys.exit((folder / "said.txt").read_text()[-2000:])
    return {"pairs": pairs, "seconds": round(seconds, 1), "peak_mb": round(usage.ru_maxrss / 1024)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, nargs="+", default=[200_000, 1_000_000])
    given = parser.parse_args()
    first = 0.0
    for pairs in given.pairs:
        found = measured(given.model, pairs)
        first = first or found["peak_mb"]
        print(json.dumps({**found, "ratio": round(found["peak_mb"] / first, 2)}), flush=True)


if __name__ == "__main__":
    main()
