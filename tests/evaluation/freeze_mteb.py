"""Writes mteb_values.json: rankings full of ties, and what mteb's own functions say of them.

python tests/evaluation/freeze_mteb.py
"""

from __future__ import annotations

import json
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mteb._evaluators import retrieval_metrics as mteb


def ranking(draw: random.Random, docs: list[str]) -> dict[str, float]:
    return {doc: draw.choice([0.0, 0.25, 0.5, 1.0]) for doc in draw.sample(docs, draw.randint(2, len(docs)))}


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for seed in range(12):
        draw = random.Random(seed)
        docs = [f"d{n}" for n in range(12)]
        og = {f"q{n}-og": ranking(draw, docs) for n in range(4)}
        new = {f"q{n}-changed": ranking(draw, docs) for n in range(4)}
        changed = {f"q{n}": draw.sample(docs, draw.randint(1, 4)) for n in range(4)}
        value = mteb.calculate_pmrr(og, new, changed)
        found.append({"measure": "p-MRR", "run": {**og, **new}, "changed": changed, "value": value})
        run = {f"{n // 3}_{n}": ranking(draw, docs) for n in range(9)}
        qrels = {query: {doc: draw.randint(0, 3) for doc in draw.sample(docs, 4)} for query in run}
        scores = mteb.calculate_retrieval_scores(run, qrels, [1, 10])[0]
        value = mteb.robustness_at_10(qrels, run, scores)
        found.append({"measure": "robustness@10", "run": run, "qrels": qrels, "value": value})
        run, qrels = {}, {}
        for pair in range(8):
            for n in (1, 2):
                run[f"{pair}_q{n}"] = {f"{pair}d{m}": draw.choice([0.0, 0.5, 1.0]) for m in (1, 2)}
                qrels[f"{pair}_q{n}"] = {f"{pair}d{n}": 1}
        scores = mteb.calculate_retrieval_scores(run, qrels, [1, 10])[0]
        value = mteb.paired_accuracy(qrels, run, scores)
        found.append({"measure": "pairwise_accuracy", "run": run, "qrels": qrels, "value": value})
    return found


if __name__ == "__main__":
    by = json.dumps(f"tests/evaluation/freeze_mteb.py, mteb {version('mteb')}")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases())
    (Path(__file__).parent / "mteb_values.json").write_text(f'{{"made by": {by}, "cases": [\n{lines}\n]}}\n')
