"""How long an evaluation with intervals takes: 10,000 queries, 100 passages each, through the real command.

    python benchmarks/evaluation/run.py [--queries 10000] [--json FILE]

Two synthetic runs and judgements are written as files; timed are `distill evaluate` of one run and of both (reading,
four measures, 5,000 bootstrap resamples, 10,000 sign flips), and beside them, in the same session, what ir_measures
alone takes to read the same files and compute the same measures without any interval. Medians of three.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEASURES = ("nDCG@10", "nDCG(judged_only=True)@10", "Judged@10", "AP")
ALONE = "ir_measures, one run, no intervals"
PEER = """
import sys, ir_measures
measures = [ir_measures.parse_measure(name) for name in sys.argv[3:]]
qrels = list(ir_measures.read_trec_qrels(sys.argv[1]))
print(ir_measures.calc_aggregate(measures, qrels, list(ir_measures.read_trec_run(sys.argv[2]))))
"""


def make(folder: Path, queries: int, passages: int) -> None:
    """Judgements (five passages a query) and two runs, from a seed."""
    draw = random.Random(0)
    with (
        open(folder / "test.qrels", "w") as qrels,
        open(folder / "a.trec", "w") as a,
        open(folder / "b.trec", "w") as b,
    ):
        for query in range(queries):
            relevant = {draw.randrange(passages): draw.randint(0, 3) for _ in range(5)}
            for doc, grade in relevant.items():
                qrels.write(f"q{query} 0 d{query}-{doc} {grade}\n")
            for out, skill in ((a, 0.3), (b, 0.4)):
                scores = {doc: draw.random() + skill * relevant.get(doc, 0) for doc in range(passages)}
                for rank, doc in enumerate(sorted(scores, key=lambda doc: -scores[doc]), 1):
                    out.write(f"q{query} Q0 d{query}-{doc} {rank} {scores[doc]:.6f} t\n")


def timed(command: list[str], times: int) -> dict[str, Any]:
    """Median seconds of so many runs of a command, and all of them."""
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.monotonic() - began)
    return {"seconds": round(statistics.median(seconds), 2), "all": [round(s, 2) for s in seconds]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time an evaluation with intervals")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, parsed.queries, parsed.passages)
        qrels, a, b = (str(folder / each) for each in ("test.qrels", "a.trec", "b.trec"))
        ours = [sys.executable, "-m", "distill.cli", "evaluate", "--qrels", qrels, "--measure", *MEASURES]
        found = {
            "one run": timed([*ours, "--run", a], parsed.times),
            "two runs": timed([*ours, "--run", a, b], parsed.times),
            ALONE: timed([sys.executable, "-c", PEER, qrels, a, *MEASURES], parsed.times),
        }
    peer = found[ALONE]["seconds"]
    result = {
        "command": f"python benchmarks/evaluation/run.py --queries {parsed.queries}",
        "queries": parsed.queries,
        "passages": parsed.passages,
        "found": found,
        "one run ÷ ir_measures": round(found["one run"]["seconds"] / peer, 2),
        "two runs ÷ ir_measures": round(found["two runs"]["seconds"] / peer, 2),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "date": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if parsed.json:
        parsed.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
