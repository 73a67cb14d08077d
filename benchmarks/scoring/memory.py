"""The peak memory of `distill rerank` or `distill evaluate` by the number of pairs, with a backend that answers without
computing.

    python benchmarks/scoring/memory.py MODEL [--pairs 200000 1000000]
    python benchmarks/scoring/memory.py evaluate [--pairs 200000 1000000]

MODEL is a folder whose tokenizer is used, such as `make real-base` makes; `evaluate` makes a small one of its own, and
has two systems judge the set, which has ten labels a query. A hundred passages a query, each passage in five lists.
Printed as JSON for each number: the seconds, the peak of the largest process in MB, and its ratio to the first
number's. For comparison, what a process takes that has imported torch and transformers is printed first.
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
DEPTH, LISTS, LABELS = 100, 5, 10
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


CONFIG = """
name: memory
pairs: {source: example, example: {queries: {train: 12, dev: 2, test: 4}}}
teacher: {source: example}
filters: [parses]
sft:
  base: scratch
  scratch: {vocab_size: 512, layers: 1, width: 64, heads: 2, kv_heads: 2, ffn: 128}
  targets: [direct]
  max_length: 400
  training: {max_steps: 1, per_device_train_batch_size: 1}
scoring: {backend: "engine.py:Constant"}
evaluation:
  sets: [{name: test, path: ., first_stage: run.trec, depth: 100}]
"""
STAGES = ("pairs", "trace", "filter", "dataset", "sft")  # before the evaluation


def make(folder: Path, pairs: int) -> None:
    """The files of a set of so many pairs, and the backend."""
    count = max(DEPTH, pairs // LISTS)
    with open(folder / "corpus.jsonl", "w") as out:
        for doc in range(count):
            out.write(json.dumps({"_id": f"d{doc}", "text": f"Passage {doc} is about thing {doc % 9973}"}) + "\n")
    with open(folder / "queries.jsonl", "w") as queries, open(folder / "run.trec", "w") as run:
        for query in range(pairs // DEPTH):
            queries.write(json.dumps({"_id": f"q{query}", "text": f"which thing is {query}"}) + "\n")
            for rank in range(DEPTH):
                run.write(f"q{query} Q0 d{(query * DEPTH + rank) % count} {rank + 1} {DEPTH - rank} x\n")
    (folder / "qrels").mkdir()
    with open(folder / "qrels" / "test.tsv", "w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for query in range(pairs // DEPTH):
            for rank in range(LABELS):
                qrels.write(f"q{query}\td{(query * DEPTH + 7 * rank) % count}\t{rank % 2}\n")
    (folder / "engine.py").write_text(ENGINE)
    (folder / "config.yaml").write_text(CONFIG)


def command_of(model: str, folder: Path) -> list[str]:
    """The command that is measured, after whatever comes before it."""
    distill = [sys.executable, "-m", "distill.cli"]
    if model == "evaluate":
        rest = ["config.yaml", "--out", "run"]
        for stage in STAGES:
            subprocess.run([*distill, stage, *rest], cwd=folder, env=environment(), check=True, capture_output=True)
        return [*distill, "evaluate", *rest]
    files = ["--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--run", "run.trec", "--out", "out.trec"]
    how = ["--mode", "direct", "--backend", "engine.py:Constant", "--calibration", "none"]
    return [*distill, "rerank", "--model", str(Path(model).resolve()), *files, *how]


def environment() -> dict[str, str]:
    """This process's, with the project's sources."""
    return {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT)), "TOKENIZERS_PARALLELISM": "false"}


def peak(command: list[str], folder: Path) -> tuple[float, int]:
    """(seconds, the peak of the largest process in MB) of a command."""
    started = time.monotonic()
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "said.txt").read_text()[-2000:])
    return round(time.monotonic() - started, 1), round(usage.ru_maxrss / 1024)


def measured(model: str, pairs: int) -> dict[str, float]:
    """One run of the command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, pairs)
        seconds, memory = peak(command_of(model, folder), folder)
        out = folder / "out.trec" if model != "evaluate" else folder / "run" / "evaluation" / "test.direct.trec"
        with open(out, "rb") as lines:
            if sum(1 for _ in lines) != pairs:
                sys.exit((folder / "said.txt").read_text()[-2000:])
    return {"pairs": pairs, "seconds": seconds, "peak_mb": memory}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder, or evaluate")
    parser.add_argument("--pairs", type=int, nargs="+", default=[200_000, 1_000_000])
    given = parser.parse_args()
    libraries = [sys.executable, "-c", "import torch, transformers; transformers.AutoModelForCausalLM"]
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps({"libraries_mb": peak(libraries, Path(name))[1]}), flush=True)
    first = 0.0
    for pairs in given.pairs:
        found = measured(given.model, pairs)
        first = first or found["peak_mb"]
        print(json.dumps({**found, "ratio": round(found["peak_mb"] / first, 2)}), flush=True)


if __name__ == "__main__":
    main()
