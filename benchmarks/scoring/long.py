"""A long evaluation of a small model, killed twice: what it costs, and what is judged twice.

    python benchmarks/scoring/long.py MODEL DL19 LOOP.py [--pairs 30000] [--out FOLDER] [--seed 0]

MODEL is a folder, such as `make real-base` makes; DL19 a folder with corpus.jsonl, queries.jsonl, qrels/test.tsv and
runs/BM25.top100.trec; LOOP.py as in `run.py`. The set has PAIRS different pairs of DL19's lengths: its queries come
again under new ids, each with the list of another query. A run folder is made by the commands that a user gives
(pairs, trace, filter, dataset, and sft of one step), then `distill evaluate` judges the set by the model itself (system
`untrained`, mode direct). At two random moments every process of it is killed by SIGKILL, and the same command given
again. The backend is the one that a configuration has by default; it writes down each pair that it has judged.

Before and after, the loop judges 600 pairs (fewer where there are fewer) drawn evenly from the set. Printed: a line
every half minute, and at the end JSON: the wall time of the three commands together, with all that loading costs, its
rate next to the loop's, and how many pairs were judged twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOW_S = 30.0
LOOPED = 600
KILLS = ((0.15, 0.45), (0.5, 0.85))  # between which shares of the pairs the command is killed
COUNTING = """
from distill.rerank.backends.transformers import TransformersBackend


class Counting(TransformersBackend):
    name = "counting"

    def step(self):
        done = super().step()
        with open({path!r}, "a") as out:
            out.write("".join(task.pair.pair_id + "\\n" for task, _ in done))
        return done
"""
CONFIG = """
name: long
pairs: {{source: example, example: {{queries: {{train: 12, dev: 2, test: 4}}}}}}
teacher: {{source: example}}
filters: [parses]
sft:
  base: {model}
  targets: [direct]
  think_tokens: text
  max_length: 400
  training: {{max_steps: 1, per_device_train_batch_size: 1, gradient_accumulation_steps: 1, packing: false}}
scoring: {{backend: "counting.py:Counting"}}
evaluation:
  systems: [untrained]
  sets: [{{name: test, path: set, first_stage: set/runs/BM25.top100.trec, depth: 100}}]
"""


def lists_of(data: Path) -> dict[str, list[str]]:
    """{query: its passages} of DL19's run."""
    lists: dict[str, list[str]] = {}
    for line in (data / "runs/BM25.top100.trec").read_text(encoding="utf-8").splitlines():
        query, _, doc = line.split()[:3]
        lists.setdefault(query, []).append(doc)
    return lists


def make_set(data: Path, folder: Path, wanted: int) -> None:
    """So many different pairs, a hundred a query where a list gives as many."""
    (folder / "runs").mkdir(parents=True)
    (folder / "qrels").mkdir()
    shutil.copy(data / "corpus.jsonl", folder)
    texts, passages = (
        {row["_id"]: row["text"] for row in map(json.loads, (data / name).read_text(encoding="utf-8").splitlines())}
        for name in ("queries.jsonl", "corpus.jsonl")
    )
    judged: dict[str, list[str]] = {}
    for line in (data / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, rest = line.split("\t", 1)
        judged.setdefault(query, []).append(rest)
    lists, queries, run, qrels = lists_of(data), [], [], []
    order, seen = sorted(lists), set()
    for shift in range(len(order)):
        for number, query in enumerate(order):
            docs = []
            for doc in lists[order[(number + shift) % len(order)]]:
                text = (texts[query], passages[doc])  # what is judged once, whatever its ids
                if text not in seen and len(run) + len(docs) < wanted:
                    seen.add(text)
                    docs.append(doc)
            if not docs:
                continue
            name = f"{query}-{shift}"
            queries.append(json.dumps({"_id": name, "text": texts[query]}))
            run += [f"{name} Q0 {doc} {rank} {-rank} shifted" for rank, doc in enumerate(docs, 1)]
            qrels += [f"{name}\t{rest}" for rest in judged[query]]
    if len(run) < wanted:
        sys.exit(f"{data} gives {len(run):,} different pairs, fewer than {wanted:,}")
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n", encoding="utf-8")
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]) + "\n", encoding="utf-8")
    (folder / "runs/BM25.top100.trec").write_text("\n".join(run) + "\n", encoding="utf-8")


def part_of(folder: Path, count: int) -> Path:
    """A folder like the set's, with so many of its pairs, drawn evenly."""
    part = folder.with_name("part")
    (part / "runs").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (part / name).symlink_to(folder / name)
    lines = (folder / "runs/BM25.top100.trec").read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = [lines[number * len(lines) // count] for number in range(count)]
    (part / "runs/BM25.top100.trec").write_text("".join(chosen), encoding="utf-8")
    return part


def looped(loop: Path, model: str, part: Path, count: int) -> float:
    """The loop's pairs a second."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    command = [sys.executable, str(loop), model, str(part), str(count)]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    rate = re.search(r"([\d.]+) pairs/s", said)
    if rate is None:
        sys.exit(f"{loop} printed {said!r}, and no pairs/s")
    print(f"loop: {rate[0]} over {count} pairs", flush=True)
    return float(rate[1])


def command(stage: str, work: Path) -> list[str]:
    """A command of the project on the run folder."""
    return [sys.executable, "-m", "distill.cli", stage, str(work / "long.yaml"), "--out", str(work / "run")]


def evaluated(work: Path, total: int, until: int | None, environment: dict[str, str]) -> float:
    """The seconds of one `distill evaluate`, killed with all its processes when so many pairs were judged."""
    counted = work / "counted.txt"
    started = shown = time.monotonic()
    before = lines_in(counted)
    with open(work / "said.txt", "ab") as said:
        process = subprocess.Popen(
            command("evaluate", work), stdout=said, stderr=said, env=environment, start_new_session=True
        )
        while process.poll() is None:
            time.sleep(0.2)
            done, now = lines_in(counted), time.monotonic()
            if until is not None and done >= until:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                print(f"killed after {done:,} judgements", flush=True)
                return time.monotonic() - started
            if now - shown >= SHOW_S:
                shown = now
                rate = (done - before) / (now - started)
                print(f"{done:,} of {total:,} judged, {rate:.1f} a second with loading", flush=True)
    if process.returncode or until is not None:
        sys.exit(f"distill evaluate ended with {process.returncode}:\n{(work / 'said.txt').read_text()[-2000:]}")
    return time.monotonic() - started


def lines_in(path: Path) -> int:
    """How many lines a file has, 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("loop", type=Path)
    parser.add_argument("--pairs", type=int, default=30_000)
    parser.add_argument("--out", type=Path, help="a folder to work in, kept (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(given, (given.out or Path(name)).resolve())


def measure(given: argparse.Namespace, work: Path) -> None:
    """Everything, in the folder `work`."""
    if (work / "set").exists():
        sys.exit(f"{work}: holds an earlier measurement; remove it, or name another folder")
    model, rng = str(Path(given.model).resolve()), random.Random(given.seed)
    make_set(given.data.resolve(), work / "set", given.pairs)
    part, some = part_of(work / "set", min(LOOPED, given.pairs)), min(LOOPED, given.pairs)
    (work / "counting.py").write_text(COUNTING.format(path=str(work / "counted.txt")))
    (work / "long.yaml").write_text(CONFIG.format(model=model))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for stage in ("pairs", "trace", "filter", "dataset", "sft"):
        print(f"distill {stage} ...", flush=True)
        made = subprocess.run(command(stage, work), capture_output=True, text=True, env=environment)
        if made.returncode:
            sys.exit(f"distill {stage}:\n{made.stderr[-2000:]}")
    before = looped(given.loop, model, part, some)
    moments = [int(rng.uniform(*between) * given.pairs) for between in KILLS]
    seconds = [evaluated(work, given.pairs, until, environment) for until in (*moments, None)]
    after = looped(given.loop, model, part, some)
    times = Counter((work / "counted.txt").read_text().split())
    metrics = json.loads((work / "run/metrics.json").read_text())
    loop = (before + after) / 2
    found = {
        "pairs": given.pairs,
        "judged": len(times),
        "judged_twice": sum(times.values()) - len(times),
        "in_the_run": lines_in(work / "run/evaluation/test.untrained.trec"),
        "seconds": round(sum(seconds)),
        "seconds_each": [round(each) for each in seconds],
        "pairs_per_s": round(given.pairs / sum(seconds), 2),
        "loop_before_and_after": [before, after],
        "ours_over_loop": round(given.pairs / sum(seconds) / loop, 2),
        "seconds_at_the_loops_rate": round(given.pairs / loop),
        "pairs_per_s_while_judging": metrics["evaluation"]["test"]["untrained"]["pairs_per_s"],
    }
    print(json.dumps(found, indent=1), flush=True)
    if found["judged"] != given.pairs or found["in_the_run"] != given.pairs:
        sys.exit("a pair was lost")


if __name__ == "__main__":
    main()
