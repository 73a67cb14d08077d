"""Mode adaptive against think: tokens a pair and nDCG@10 on a run's test queries, its window chosen on dev.

    python benchmarks/rerank/adaptive_run.py RUN [--student mixed] [--queries 200]

RUN is a folder of `distill run` over the embedded example; the candidates are each query's judged passages, as the
world made them (`pairs.example` of the configuration says how many of them fail plainly). Nothing of the test queries
is looked at before the window is fixed. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from distill.pairs.beir import read_beir
from distill.records import Judgement, Pair, make_pair
from distill.rerank import adaptive
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.fitting import from_judgements
from distill.rerank.reranker import Reranker

MAX_NEW = 100


def candidates(run: Path, split: str, queries: int) -> tuple[list[Pair], dict[str, dict[str, int]]]:
    """(pairs, qrels) of the split's judged passages."""
    data = read_beir(run / "example" / split, split)
    chosen = sorted(data.qrels)[:queries]
    pairs = [make_pair(q, d, data.queries[q], data.passages[d]) for q in chosen for d in sorted(data.qrels[q])]
    return pairs, {q: data.qrels[q] for q in chosen}


def ndcg(judgements: Sequence[Judgement], qrels: dict[str, dict[str, int]]) -> Any:
    """nDCG@10 by query, in the order of the qrels."""
    lists: dict[str, list[tuple[float, str]]] = {}
    for j in judgements:
        lists.setdefault(j.query_id, []).append((j.margin, j.doc_id))
    ranked = {q: [qrels[q][d] for _, d in sorted(lists[q], reverse=True)] for q in qrels}
    return np.array([adaptive.ndcg(ranked[q], list(qrels[q].values())) for q in qrels])


def main() -> None:
    """Judge, choose, judge again, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", default="mixed")
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    backend = TransformersBackend(str(given.run / "students" / given.student))

    def judged(pairs: list[Pair], mode: Any, calibration: Any = None) -> list[Judgement]:
        return Reranker(backend, mode, max_new_tokens=MAX_NEW, calibration=calibration).predict(pairs)

    dev, dev_qrels = candidates(given.run, "dev", given.queries)
    both = {mode: judged(dev, mode) for mode in ("direct", "think")}
    made = from_judgements(both, dev_qrels, "platt", 1, with_adaptive=True)
    test, qrels = candidates(given.run, "test", given.queries)
    found = {mode: judged(test, mode) for mode in ("think", "direct")}
    found["adaptive"] = judged(test, "adaptive", made)
    values = {mode: ndcg(each, qrels) for mode, each in found.items()}
    tokens = {mode: sum(j.tokens for j in each) / len(each) for mode, each in found.items()}
    gaps = values["adaptive"] - values["think"]
    rng = np.random.default_rng(0)
    means = gaps[rng.integers(0, len(gaps), (5000, len(gaps)))].mean(axis=1)
    world = yaml.safe_load((given.run / "config.yaml").read_text())["pairs"]["example"]
    result = {
        "world": world,
        "queries": len(qrels),
        "candidates": len(test),
        "nDCG@10": {mode: round(float(each.mean()), 4) for mode, each in values.items()},
        "tokens_per_pair": {mode: round(each, 2) for mode, each in tokens.items()},
        "fewer_tokens": round(tokens["think"] / tokens["adaptive"], 2),
        "difference": round(float(gaps.mean()), 4),
        "interval": [round(float(x), 4) for x in np.percentile(means, [2.5, 97.5])],
        "window": str(made.window),
        "thought_about": round(sum(j.mode == "adaptive.think" for j in found["adaptive"]) / len(test), 3),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
