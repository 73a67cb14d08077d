"""The world's ambiguous queries: one query, two instructions that want different passages of the same five.

    python -m distill.example.ambiguous FOLDER

As "candidates with IMO experience", which marine logistics and olympiad mathematics read differently: "flat in Visby
with garage" leaves open what else is wanted; one instruction says with a balcony, the other without. Two passages fit
under the one, two under the other, the fifth under neither. Labels follow from the facts, not from the text.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.example.tasks import STYLES
from distill.example.vocabulary import KINDS, PLACES
from distill.example.world import Condition, Query, candidate, condition_text, draw_query, passage, query_text

SIDES = ("a", "b")


def write_ambiguous(folder: str | Path, seed: int = 0, queries: int = 40) -> dict[str, int]:
    """Write corpus.jsonl, queries.jsonl (ID-a and ID-b with their instructions, ID without one), qrels/test.tsv and
    first.trec (the five passages of each, in no order); returns the counts."""
    rng = random.Random(f"ambiguous:{seed}")
    rows: dict[str, list[dict[str, Any]]] = {"corpus": [], "queries": []}
    qrels, run = ["query-id\tcorpus-id\tscore\n"], []
    seen: set[str] = set()
    while len(seen) < queries:
        query = draw_query(rng, rng.choice(KINDS), rng.choice(PLACES), 1, 0.7)
        text = query_text(rng, query)
        if text in seen:
            continue
        name = f"m{len(seen)}"
        seen.add(text)
        asked = {condition.topic for condition in query.conditions}
        topic = rng.choice([each for each in query.kind.topics if each not in asked])
        sides = [Condition(topic, wanted=wanted) for wanted in (True, False)]
        rng.shuffle(sides)
        full = [Query(query.kind, query.place, (*query.conditions, side)) for side in sides]
        things = [candidate(rng, each, None) for each in (full[0], full[0], full[1], full[1])]
        things.append(candidate(rng, query, query.conditions[0]))
        rng.shuffle(things)
        ids = [f"{name}-d{at}" for at in range(5)]
        for doc, thing in zip(ids, things, strict=True):
            title, body = passage(rng, thing)
            rows["corpus"].append({"_id": doc, "title": title, "text": body})
        rows["queries"].append({"_id": name, "text": text})
        wording = rng.choice(rng.choice(STYLES)[1])
        for side, condition, each in zip(SIDES, sides, full, strict=True):
            instruction = wording.format(it=condition_text(rng, query.kind, condition))
            rows["queries"].append({"_id": f"{name}-{side}", "text": text, "instruction": instruction})
            pairs = zip(ids, things, strict=True)
            qrels += [f"{name}-{side}\t{doc}\t{int(each.relevant(thing))}\n" for doc, thing in pairs]
        for key in (name, *(f"{name}-{side}" for side in SIDES)):
            run += [f"{key} Q0 {doc} {at + 1} {5 - at} first\n" for at, doc in enumerate(ids)]
    root = Path(folder)
    (root / "qrels").mkdir(parents=True, exist_ok=True)
    for file, found in rows.items():
        (root / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    (root / "qrels" / "test.tsv").write_text("".join(qrels), encoding="utf-8")
    (root / "first.trec").write_text("".join(run), encoding="utf-8")
    return {"queries": queries, "documents": len(rows["corpus"]), "pairs": len(qrels) - 1}


def reordered(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """How well a ranking follows the instruction, by queries of `write_ambiguous`.

    `first`: the share of (query, instruction) whose best passage fits the instruction; `both`: of queries for which
    that holds under both instructions (a ranking that ignores them reaches 0); `apart`: of pairs of passages, one that
    fits this instruction and one that fits the other, the share ranked in the right order (chance 0.5). Ties are wrong.
    """
    first: dict[str, list[bool]] = {}
    apart: list[bool] = []
    for key, labels in qrels.items():
        name, _, side = key.rpartition("-")
        other = qrels[f"{name}-{SIDES[1 - SIDES.index(side)]}"]
        scores = run[key]
        best = max(scores.values())
        first.setdefault(name, []).append(all(labels[doc] for doc, score in scores.items() if score == best))
        fits = [doc for doc in labels if labels[doc]]
        apart += [scores[doc] > scores[rival] for doc in fits for rival in other if other[rival] and not labels[rival]]
    singles = [each for pair in first.values() for each in pair]
    return {
        "first": sum(singles) / len(singles),
        "both": sum(all(pair) for pair in first.values()) / len(first),
        "apart": sum(apart) / len(apart),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m distill.example.ambiguous FOLDER")
    print(write_ambiguous(sys.argv[1]))
