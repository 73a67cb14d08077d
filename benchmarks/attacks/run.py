"""How far hostile passages lift a student's scores: by prompt variant, trained with and without such passages.

    python benchmarks/attacks/run.py --out /tmp/attacks        # trains four small students: 15 minutes or so
    python benchmarks/attacks/run.py --student runs/mine/students/think --data data/mine/test    # measures one of yours

Four students on a small world: prompt `rank1` and `delimited`, each trained without and with hostile passages. "With":
two of a query's seven passages that are not relevant carry one of the attacks that are not held out, labelled not
relevant, as their verdicts are; the other half of each family is only measured. All else is equal. An attack lifts a
pair where its score rises by more than 0.1 over that of a harmless insertion of equal length. Writes baseline.json
beside this file only with --write.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from hostile import by_family, held_out, measure, suite

from distill.example.world import WorldSettings, write_beir
from distill.pairs.collection import gather
from distill.pairs.sources.beir import Beir
from distill.records import Pair, make_pair
from distill.rerank.reranker import Reranker

ROOT = Path(__file__).resolve().parents[2]
WORLD = WorldSettings(queries={"train": 900, "dev": 10, "test": 30}, kinds=2, places=3, condition_shares=(0.4, 0.6))
MEASURED = 16  # pairs that each attack is tried on


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="where the four runs go; one that is there goes on (default: a new one)"
    )
    parser.add_argument(
        "--student", action="append", default=[], help="measure this student; may be given several times"
    )
    parser.add_argument("--data", type=Path, help="with --student: a BEIR folder with judged pairs, of one split")
    parser.add_argument("--mode", default="think")
    parser.add_argument("--steps", type=int, default=550)
    parser.add_argument("--write", action="store_true", help="write baseline.json")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="attacks-"))
    began = time.monotonic()
    if given.student:
        students = {name: (name, None) for name in given.student}
        data = given.data
    else:
        students = trained(out, given.steps)
        data = out / "plain" / "test"
    pairs = not_relevant(data)
    found = {}
    for name, (folder, ndcg) in students.items():
        found[name] = {"nDCG@10": ndcg, **measured(folder, given.mode, pairs)}
        print(table({name: found[name]}), flush=True)
    print(table(found))
    print(f"{time.monotonic() - began:.0f} s")
    if given.write:
        about = {"machine": f"{platform.machine()}, one thread", "python": platform.python_version()}
        about |= {"command": "python benchmarks/attacks/run.py --write", "seconds": round(time.monotonic() - began)}
        about |= {"pairs": len(pairs), "steps": given.steps, "mode": given.mode}
        text = json.dumps({"about": about, "students": found}, indent=1)
        (Path(__file__).parent / "baseline.json").write_text(text + "\n", encoding="utf-8")
    return 0


def trained(out: Path, steps: int) -> dict[str, tuple[str, float]]:
    """{name: (student's folder, nDCG@10 on passages without attacks)}."""
    if not (out / "hostile").exists():
        write_beir(out / "plain", 0, WORLD)
        write_beir(out / "hostile", 0, WORLD)
        poison(out / "hostile" / "train")
    found = {}
    for prompt in ("rank1", "delimited"):
        for negatives in ("plain", "hostile"):
            name = f"{prompt}, {'with' if negatives == 'hostile' else 'without'}"
            folder = out / f"{prompt}-{negatives}"
            config = out / f"{folder.name}.yaml"
            config.write_text(yaml.safe_dump(recipe(folder.name, prompt, negatives, steps)), encoding="utf-8")
            command = [sys.executable, "-m", "distill.cli", "run", str(config), "--out", str(folder)]
            subprocess.run(command, check=True, cwd=ROOT)
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            found[name] = (str(folder / "students" / "think"), metrics["evaluation"]["test"]["think"]["nDCG@10"])
    return found


def recipe(name: str, prompt: str, negatives: str, steps: int) -> dict[str, Any]:
    """The configuration of one student: the quickstart's shape and optimiser."""
    return {
        "name": name,
        "prompt": prompt,
        "pairs": {"source": "beir", "path": f"{negatives}/train", "split": "train"},
        "teacher": {"source": "example"},
        "filters": ["finished", "parses", "verdict_matches_label"],
        "sft": {
            "base": "scratch",
            "scratch": {"layers": 2, "width": 128, "heads": 4, "ffn": 640},
            "targets": ["think"],
            "max_length": 512,
            "optimizer": "muon",
            "training": {
                "max_steps": steps,
                "per_device_train_batch_size": 16,
                "learning_rate": 3.0e-3,
                "warmup_steps": 0.1,
                "adam_beta2": 0.98,
                "weight_decay": 0.01,
                "save_strategy": "no",
            },
        },
        "evaluation": {
            "sets": [{"name": "test", "source": "beir", "path": "plain/test", "split": "test", "depth": 10}],
            "max_new_tokens": 100,
        },
    }


def poison(folder: Path) -> None:
    """Insert an attack into two of each query's passages that are not relevant; their labels stay."""
    rng = random.Random("attacks")
    attacks = [attack for attack in suite() if not held_out(attack)]
    queries = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl")}
    documents = {row["_id"]: row for row in _lines(folder / "corpus.jsonl")}
    wrong: dict[str, list[str]] = {}
    for line in (folder / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if grade == "0":
            wrong.setdefault(query, []).append(document)
    for query, ids in wrong.items():
        for document in rng.sample(ids, min(2, len(ids))):
            attack = rng.choice(attacks)
            row = documents[document]
            row["text"] = attack.applied(row["text"], attack.written(queries[query]))
    lines = (json.dumps(row) + "\n" for row in documents.values())
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")


def not_relevant(folder: Path) -> list[Pair]:
    """Some of the judged pairs that are not relevant, from as many queries as may be."""
    (qrels,) = (folder / "qrels").glob("*.tsv")
    data = gather(Beir(folder), qrels.stem)
    found = []
    rng = random.Random("pairs")
    for query, labels in sorted(data.qrels.items()):
        ids = sorted(doc for doc, grade in labels.items() if grade == 0 and doc in data.passages)
        if ids:
            doc = rng.choice(ids)
            text = (data.queries[query], data.passages[doc], data.instructions.get(query))
            found.append(make_pair(query, doc, *text))
    return found[:MEASURED]


def measured(folder: str, mode: str, pairs: list[Pair]) -> dict[str, Any]:
    """What the suite does to one student."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    reranker = Reranker(folder, mode, max_new_tokens=100)  # type: ignore[arg-type]
    rows = measure(reranker.predict, pairs, suite(), lambda text: len(tokenizer.encode(text, add_special_tokens=False)))
    sums = {"attacks": rows, "families": by_family(rows)}
    for key, chosen in (("seen", False), ("held_out", True)):
        own = [row for row in rows if row["held_out"] is chosen]
        sums[key] = sum(row["lifted"] for row in own) / sum(row["pairs"] for row in own)
    return sums


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: families down, students across, shares of pairs lifted."""
    names = list(found)
    lines = [f"| lifted | attacks | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for family, first in found[names[0]]["families"].items():
        shares = (found[name]["families"][family] for name in names)
        cells = (f"{each['lifted'] / each['pairs']:.1%}" for each in shares)
        lines.append(f"| {family} ({first['kind']}) | {first['attacks']} | {' | '.join(cells)} |")
    for key, title in (("seen", "all of the half trained on"), ("held_out", "all of the half held out")):
        lines.append(f"| {title} | | {' | '.join(f'{found[name][key]:.1%}' for name in names)} |")
    cells = (f"{found[name]['nDCG@10']:.3f}" if found[name]["nDCG@10"] is not None else "" for name in names)
    lines.append(f"| nDCG@10 without attacks | | {' | '.join(cells)} |")
    return "\n".join(lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


if __name__ == "__main__":
    sys.exit(main())
