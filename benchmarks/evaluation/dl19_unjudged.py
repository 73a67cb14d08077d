"""How often the intervals for unjudged passages hold, on TREC DL 2019: hide judgements, estimate, compare.

    python benchmarks/evaluation/dl19_unjudged.py FOLDER [--json FILE]

FOLDER holds qrels/test.tsv, qrels/llm_labels.tsv (each judged pair's labels by five LLM judges), runs/*.trec and
runs-trec2019/*.gz. Judgements are hidden in four ways; of the hidden ones in the top ten of a ranking given, a judge's
published label is what `distill evaluate --judge-unjudged` would get, and 200 of the judgements left are its control
sample. The truth is nDCG@10 with the assessors' grades of what was left and of what the judge labelled. A case is one
system whose interval is compared with the truth. Passages that assessors never judged count as not relevant throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TypedDict

from distill.evaluation.unjudged import Key, estimated, filled, judged, unjudged
from distill.files.qrels import Grades, read_qrels
from distill.files.runs import Rankings, read_run
from distill.statistics.measures import per_query

MEASURE, DEPTH, CONTROL = "nDCG@10", 10, 200
Runs = Mapping[str, Rankings]


@dataclass(frozen=True, slots=True)
class World:
    """DL19: every judgement, {judge: {pair: label}}, the six well-known rankings, and the 37 official ones."""

    qrels: dict[str, dict[str, int]]
    labels: dict[str, dict[Key, int]]
    known: dict[str, dict[str, dict[str, float]]]
    official: dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """Judgements left, rankings given, the judge, a seed, and the systems that are compared with the truth."""

    left: Grades
    runs: Runs
    judge: str
    seed: int
    compared: list[str]


class Case(TypedDict):
    """One system of one trial: nDCG@10 by all judgements, with the hidden ones missing, and as estimated."""

    family: str
    system: str
    judge: str
    true: float
    hidden: float
    corrected: float
    interval: list[float]
    holds: bool


def load(folder: Path) -> World:
    """The files of `folder`."""
    lines = [line.split("\t") for line in (folder / "qrels" / "llm_labels.tsv").read_text().splitlines()]
    labels = {
        judge: {(row[0], row[1]): int(row[column]) for row in lines[1:]} for column, judge in enumerate(lines[0][3:], 3)
    }
    known = {path.name.split(".")[0]: read_run(path) for path in sorted((folder / "runs").glob("*.trec"))}
    official = {path.name.split(".")[0]: read_run(path) for path in sorted((folder / "runs-trec2019").glob("*.gz"))}
    return World(read_qrels(folder / "qrels" / "test.tsv"), labels, known, official)


def ndcg(qrels: Grades, run: Rankings) -> float:
    """Mean over the queries."""
    return mean(per_query(qrels, run, [MEASURE])[MEASURE].values())


def tops(runs: Runs, queries: Grades) -> set[Key]:
    """(query, passage) pairs within the top ten of any run."""
    return set(unjudged({query: {} for query in queries}, runs, DEPTH))


def without(qrels: Grades, gone: set[Key]) -> dict[str, dict[str, int]]:
    """The judgements but those of `gone`."""
    return {q: {d: grade for d, grade in labels.items() if (q, d) not in gone} for q, labels in qrels.items()}


def eleven(world: World) -> dict[str, dict[str, dict[str, float]]]:
    """The six well-known rankings and the five best official ones."""
    best = sorted(world.official, key=lambda name: -ndcg(world.qrels, world.official[name]))[:5]
    return {**world.known, **{name: world.official[name] for name in best}}


def found_by_one(world: World) -> Iterator[Trial]:
    """Hidden: passages in the top ten of exactly one of eleven rankings, as if none had come from outside its pool."""
    runs = eleven(world)
    seen = Counter(key for name in runs for key in tops({name: runs[name]}, world.qrels))
    left = without(world.qrels, {key for key, count in seen.items() if count == 1})
    for seed, judge in enumerate(world.labels):
        yield Trial(left, runs, judge, seed, list(runs))


def one_in(world: World) -> Iterator[Trial]:
    """Hidden: one judged passage in 3, 5 or 10, at random; eleven rankings."""
    runs = eleven(world)
    for share in (3, 5, 10):
        for seed, judge in enumerate(world.labels):
            draw = random.Random(100 * share + seed)
            gone = {(q, d) for q, labels in world.qrels.items() for d in labels if draw.randrange(share) == 0}
            yield Trial(without(world.qrels, gone), runs, judge, seed, list(runs))


def new_system(world: World) -> Iterator[Trial]:
    """Hidden: all that the top tens of a pool of 4 to 8 systems do not hold; one system is new."""
    runs = {**world.known, **world.official}
    for seed in range(150):
        draw = random.Random(seed)
        pool = draw.sample(sorted(runs), draw.randint(4, 8))
        new = draw.choice(sorted(runs.keys() - set(pool)))
        yield pooled(world, pool, [new], seed)


def few_judged(world: World) -> Iterator[Trial]:
    """Hidden: all that the top tens of 3 to 7 systems do not hold; the 36 to 40 others are all given."""
    runs = {**world.known, **world.official}
    for seed in range(20):
        draw = random.Random(1000 + seed)
        pool = draw.sample(sorted(runs), draw.randint(3, 7))
        yield pooled(world, pool, sorted(runs.keys() - set(pool)), seed)


def pooled(world: World, pool: list[str], others: list[str], seed: int) -> Trial:
    """Judged is what the top tens of `pool` hold; `others` are compared with the truth."""
    runs = {**world.known, **world.official}
    pool_tops = tops({name: runs[name] for name in pool}, world.qrels)
    gone = {(q, d) for q, labels in world.qrels.items() for d in labels} - pool_tops
    judge = list(world.labels)[seed % len(world.labels)]
    return Trial(without(world.qrels, gone), {name: runs[name] for name in [*pool, *others]}, judge, seed, others)


FAMILIES = {
    "found by one ranking alone": found_by_one,
    "one judged passage in n": one_in,
    "one new system": new_system,
    "few judged systems": few_judged,
}


def cases(world: World, family: str, trial: Trial) -> tuple[list[Case], int]:
    """The trial's cases, and how many systems had too few judged passages for an estimate."""
    labels = world.labels[trial.judge]
    hidden = [key for key in unjudged(trial.left, trial.runs, DEPTH) if key[1] in world.qrels[key[0]]]
    control = judged(trial.left, trial.runs, DEPTH, CONTROL, trial.seed)
    estimate = estimated(
        trial.left, trial.runs, [MEASURE], {key: labels[key] for key in hidden},
        [(trial.left[q][d], labels[q, d]) for q, d in control], DEPTH, trial.seed,
    )  # fmt: skip
    truth = filled(trial.left, {(q, d): world.qrels[q][d] for q, d in hidden})
    rows: list[Case] = []
    for system in trial.compared:
        if system in estimate["not_estimated"]:
            continue
        low, high = estimate["error"][system][MEASURE]
        true = round(ndcg(truth, trial.runs[system]), 6)
        rows.append(
            {
                "family": family,
                "system": system,
                "judge": trial.judge,
                "true": true,
                "hidden": round(ndcg(trial.left, trial.runs[system]), 6),
                "corrected": estimate["corrected"][system][MEASURE],
                "interval": [low, high],
                "holds": low <= true <= high,
            }
        )
    return rows, len(trial.compared) - len(rows)


def summary(rows: list[Case], refused: int, seconds: float) -> dict[str, float | int]:
    """One family's line of the table."""
    return {
        "cases": len(rows),
        "holds": sum(row["holds"] for row in rows),
        "mean_width": round(mean(row["interval"][1] - row["interval"][0] for row in rows), 4),
        "mean_error": round(mean(abs(row["corrected"] - row["true"]) for row in rows), 4),
        "mean_bias": round(mean(row["corrected"] - row["true"] for row in rows), 4),
        "mean_error_unjudged_as_0": round(mean(abs(row["hidden"] - row["true"]) for row in rows), 4),
        "too_few_judged": refused,
        "seconds_a_trial": round(seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Count how often intervals for unjudged passages hold, on DL19")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every case")
    parsed = parser.parse_args()
    world = load(parsed.folder)
    families, every = {}, []
    print("| judgements hidden | holds | share | mean width | mean error | unjudged as 0 |\n|---|---|---|---|---|---|")
    for family, make in FAMILIES.items():
        trials = list(make(world))
        start = time.monotonic()
        results = [cases(world, family, trial) for trial in trials]
        rows = [row for rows, _ in results for row in rows]
        line = summary(rows, sum(count for _, count in results), (time.monotonic() - start) / len(trials))
        families[family] = line
        every += rows
        print(
            f"| {family} | {line['holds']}/{line['cases']} | {line['holds'] / line['cases']:.0%} | "
            f"{line['mean_width']:.3f} | {line['mean_error']:.4f} | {line['mean_error_unjudged_as_0']:.4f} |",
            flush=True,
        )
    if parsed.json:
        result = {
            "command": "python benchmarks/evaluation/dl19_unjudged.py FOLDER",
            "families": families,
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
            "date": time.strftime("%Y-%m-%d"),
            "cases": every,
        }
        parsed.json.write_text(json.dumps(result, indent=None, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
