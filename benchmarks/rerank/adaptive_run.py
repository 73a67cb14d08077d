"""Mode adaptive against think: tokens a pair and nDCG@10 on queries most of whose candidates fail plainly.

    python benchmarks/rerank/adaptive_run.py RUN [--student mixed] [--queries 200]

RUN is a folder of `distill run` over the embedded example. Its world's kinds and places are kept, and new queries drawn
that it has not trained on, each with twenty candidates of its own: two relevant, three that miss one condition, one of
the kind and place asked for with facts at random, and fourteen (70 %) that fail plainly (`plain_kind` of the world: of
another kind, or in another place). The window is chosen on
half as many other queries of the same making; nothing of the test queries is looked at before it is fixed. Prints one
JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from distill.example.world import WorldSettings, build
from distill.records import Judgement, Pair, make_pair
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.fitting import from_judgements
from distill.rerank.reranker import Reranker
from distill.statistics.ndcg import ndcg as one_ndcg

MAX_NEW = 100
SEEDS = {"dev": 1001, "test": 1002}  # of the queries drawn here, which are not the run's
HARD = {"relevant": 2, "near_misses": 3, "same_place": 1, "plain": 14}


def candidates(run: Path, split: str, queries: int) -> tuple[list[Pair], dict[str, dict[str, int]]]:
    """(pairs, qrels) of new queries with their own candidates."""
    world = yaml.safe_load((run / "config.yaml").read_text())["pairs"].get("example") or {}
    lines = (run / "example" / "train" / "queries.jsonl").read_text().splitlines()
    known = {json.loads(line)["text"] for line in lines}
    same = {key: world[key] for key in ("kinds", "places", "condition_shares", "usual", "plain_kind") if key in world}
    # Named "train", since of other splits every passage of the corpus is judged, not the query's own alone.
    settings = WorldSettings.model_validate({**same, **HARD, "queries": {"train": 3 * queries}})
    made = build(settings, seed=SEEDS[split])["train"]
    fresh = [query for query, (text, _) in made.queries.items() if text not in known][:queries]
    if len(fresh) < queries:
        raise SystemExit(f"only {len(fresh)} of {3 * queries} queries drawn are new: give --queries {len(fresh)}")
    pairs = [
        make_pair(query, doc, made.queries[query][0], " ".join(made.documents[doc][:2]))
        for query in fresh
        for doc in made.qrels[query]
    ]
    return pairs, {query: made.qrels[query] for query in fresh}


def ndcg(judgements: Sequence[Judgement], qrels: dict[str, dict[str, int]]) -> Any:
    """nDCG@10 by query, in the order of the qrels."""
    lists: dict[str, list[tuple[float, str]]] = {}
    for j in judgements:
        lists.setdefault(j.query_id, []).append((j.margin, j.doc_id))
    ranked = {q: [qrels[q][d] for _, d in sorted(lists[q], reverse=True)] for q in qrels}
    return np.array([one_ndcg(ranked[q], list(qrels[q].values())) for q in qrels])


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

    dev, dev_qrels = candidates(given.run, "dev", given.queries // 2)
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
        "student": world,
        "candidates_per_query": HARD,
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
