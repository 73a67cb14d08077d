"""Encoders and retrievers on the embedded example: what the cascade and the instruction negatives are worth.

    python benchmarks/encoders/example.py --seeds 0 1 2                    # trains, evaluates, prints the tables
    python benchmarks/encoders/example.py --seeds 0 1 2 --write            # and writes example.json beside this file

Two runs a seed below --runs, configs/encoder.yaml and configs/retriever.yaml with more students (ENCODERS, RETRIEVERS):
killed at any moment, the same command goes on from there. The seeds are of the training alone, the data is the same. A
query's value is its mean over the seeds; intervals and tests are paired over queries, by `distill.evaluation`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from distill.evaluation.evaluate import Values, summarise
from distill.evaluation.first_stage import RetrieverLists, of_lists
from distill.evaluation.seeds import details
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites import read
from distill.evaluation.tables import markdown_table
from distill.example.instructed import write_instructed
from distill.pairs.collection import gather
from distill.pairs.sources.beir import Beir
from distill.results import ByUnit
from distill.retrieval.encoder import load_encoder
from distill.retrieval.index import build
from distill.store import read_json, write_json

ROOT = Path(__file__).parents[2]
FIRST = "first_stage"
OUT = Path(__file__).with_name("example.json")
LONG = {"max_steps": 900, "learning_rate": 1e-3, "warmup_steps": 0.1}
SHORT = {"learning_rate": 1e-3, "num_train_epochs": 6, "per_device_train_batch_size": 32, "save_strategy": "no"}
FROM_THINK = {"scores": {"from": "think"}, "training": LONG}
ENCODERS: list[Any] = [
    "think",
    "direct",
    {"target": "encoder", "name": "verdicts", "training": LONG},
    *(
        {"target": "encoder", "name": f"cascade_{loss}", "loss": loss, **FROM_THINK}
        for loss in ("mse", "bce", "margin_mse")
    ),
]


def _retriever(name: str, **settings: Any) -> dict[str, Any]:
    own = {"negatives": 3, "max_length": 96, **settings}
    return {"target": "retriever", "name": name, "base": "scratch", "retriever": own, "training": SHORT}


RETRIEVERS: list[dict[str, Any]] = [
    _retriever("without", instruction_negatives=False),
    _retriever("with_negatives"),
]


def run(stage: str, config: str, out: Path, seed: int, **settings: Any) -> Path:
    """A run up to this stage of this configuration with these settings, gone on with; its folder."""
    given = [f"{key.replace('__', '.')}={yaml.safe_dump(value, default_flow_style=True, width=100_000).strip()}"
             for key, value in settings.items()]  # fmt: skip
    command = [sys.executable, "-m", "distill.cli", stage, str(ROOT / "configs" / config), f"sft.seed={seed}", *given]
    status = subprocess.run([*command, "--out", str(out)], cwd=ROOT).returncode
    if status:
        sys.exit(status)
    return out


def encoders(runs: Path, seed: int) -> Path:
    """The students of ENCODERS behind BM25."""
    return run(
        "run", "encoder.yaml", runs / f"encoder{seed}", seed, sft__targets=ENCODERS, sft__training__max_steps=900,
        pairs__example__queries={"train": 1800, "dev": 40, "test": 100}, evaluation__max_new_tokens=100,
    )  # fmt: skip


def retrievers(runs: Path, seed: int, instructed: Path) -> dict[str, ByUnit]:
    """{retriever: {FIRST: what FollowIR's measures say of its own lists}}, with its index below --runs."""
    folder = run("sft", "retriever.yaml", runs / f"retriever{seed}", seed, sft__targets=RETRIEVERS)
    suite = read("followir", instructed, "test", lambda: gather(Beir(instructed), "test", 0.01))
    assert suite.extra is not None
    entry = SetSettings(name="instructed", kind="followir", path=str(instructed), depth=10)
    measured: dict[str, ByUnit] = {}
    for student in RETRIEVERS:
        name = str(student["name"])
        encoder = load_encoder(str(folder / "students" / name))
        index = build(runs / f"index{seed}" / name, encoder, suite.passages)
        lists = of_lists(suite, entry, RetrieverLists(suite, index, encoder, name))
        measured[name] = {FIRST: suite.extra({query: dict(ranked) for query, ranked in lists.items()})}
    return measured


def mean_of(runs: Iterable[ByUnit], system: str) -> dict[str, dict[str, float]]:
    """{measure: {query: the mean over the runs}} of a system."""
    values: dict[str, dict[str, list[float]]] = {}
    for each in runs:
        for measure, units in each[system].items():
            for unit, value in units.items():
                values.setdefault(measure, {}).setdefault(unit, []).append(value)
    return {
        measure: {unit: sum(drawn) / len(drawn) for unit, drawn in units.items()} for measure, units in values.items()
    }


def figures(values: Values, baseline: str, by_seed: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """What the project's evaluation says of the systems, printed, with the means of each seed."""
    result = summarise(values, 0, baseline)
    print(f"\n{markdown_table(result)}", flush=True)
    return {
        "measures": result.measures, "intervals": result.intervals, "differences": result.differences,
        "tests": {
            system: {measure: asdict(test) for measure, test in tests.items()} for system, tests in result.tests.items()
        },
        "baseline": baseline, "by_seed": dict(by_seed),
    }  # fmt: skip


def means(by_unit: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{measure: mean over queries}."""
    return {measure: sum(units.values()) / len(units) for measure, units in by_unit.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/example-encoders", metavar="FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="of both kinds")
    parser.add_argument("--encoder-seeds", type=int, nargs="+", metavar="N", help="of encoders, which take longer")
    parser.add_argument("--only", choices=("encoders", "retrievers"))
    parser.add_argument("--write", action="store_true", help="write example.json beside this file")
    given = parser.parse_args()
    runs = given.runs.resolve()
    found: dict[str, Any] = read_json(OUT) or {}
    if given.only != "retrievers":
        seeds = given.encoder_seeds or given.seeds
        sets = [details(encoders(runs, seed))["test"] for seed in seeds]
        systems = {system: mean_of(sets, system) for system in sets[0]}
        by_seed = {system: [means(each[system]) for each in sets] for system in systems}
        found["encoders"] = {"seeds": seeds, **figures(systems, "verdicts", by_seed)}
    if given.only != "encoders":
        instructed = runs / "instructed"
        if not (instructed / "top_ranked.jsonl").exists():
            write_instructed(instructed, queries=200)
        folders = [retrievers(runs, seed, instructed) for seed in given.seeds]
        systems = {name: mean_of([seed[name] for seed in folders], FIRST) for name in folders[0]}
        by_seed = {name: [means(seed[name][FIRST]) for seed in folders] for name in systems}
        found["retrievers"] = {"seeds": given.seeds, **figures(systems, "without", by_seed)}
    if given.write:
        write_json(OUT, found)


if __name__ == "__main__":
    main()
