"""The world's ambiguous queries: one query, two instructions that want different passages of the same five.

    python -m distill.example.ambiguous FOLDER

As "candidates with IMO experience", which marine logistics and olympiad mathematics read differently: "flat in Visby
with garage" leaves open what else is wanted; one instruction says with a balcony, the other without. Two passages fit
under the one, two under the other, the fifth under neither. Labels follow from the facts, not from the text.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from distill.example.folder import document_row, write_folder
from distill.example.tasks import STYLES
from distill.example.vocabulary import KINDS, PLACES
from distill.example.world import Condition, Query, candidate, condition_text, draw_query, passage, query_text

SIDES = ("a", "b")


def write_ambiguous(folder: str | Path, seed: int = 0, queries: int = 40) -> dict[str, int]:
    """Write corpus.jsonl, queries.jsonl (ID-a and ID-b with their instructions, ID without one), qrels/test.tsv and
    first.trec (the five passages of each, in no order); returns the counts."""
    rng = random.Random(f"ambiguous:{seed}")
    tables: dict[str, list[dict[str, Any]]] = {"corpus": [], "queries": []}
    qrels: list[tuple[str, str, int]] = []
    run: list[str] = []
    seen: set[str] = set()
    while len(seen) < queries:
        query = draw_query(rng, rng.choice(KINDS), rng.choice(PLACES), 1, 0.7)
        text = query_text(rng, query)
        if text in seen:
            continue
        name = f"m{len(seen)}"
        seen.add(text)
        asked = {condition.topic for condition in query.conditions}
        topic = rng.choice([topic for topic in query.kind.topics if topic not in asked])
        sides = [Condition(topic, wanted=wanted) for wanted in (True, False)]
        rng.shuffle(sides)
        full = [Query(query.kind, query.place, (*query.conditions, side)) for side in sides]
        things = [candidate(rng, query_of_side, None) for query_of_side in (full[0], full[0], full[1], full[1])]
        things.append(candidate(rng, query, query.conditions[0]))
        rng.shuffle(things)
        documents = {f"{name}-d{number}": thing for number, thing in enumerate(things)}
        tables["corpus"] += [document_row(doc, *passage(rng, thing)) for doc, thing in documents.items()]
        tables["queries"].append({"_id": name, "text": text})
        wording = rng.choice(rng.choice(STYLES)[1])
        for side, condition, query_of_side in zip(SIDES, sides, full, strict=True):
            instruction = wording.format(it=condition_text(rng, query.kind, condition))
            tables["queries"].append({"_id": f"{name}-{side}", "text": text, "instruction": instruction})
            qrels += [(f"{name}-{side}", doc, int(query_of_side.relevant(it))) for doc, it in documents.items()]
        for key in (name, *(f"{name}-{side}" for side in SIDES)):
            run += [f"{key} Q0 {doc} {rank} {6 - rank} first\n" for rank, doc in enumerate(documents, 1)]
    counts = write_folder(Path(folder), tables, qrels, "test")
    (Path(folder) / "first.trec").write_text("".join(run), encoding="utf-8")
    return {**counts, "queries": queries}


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
    return {
        "first": fmean(fits for pair in first.values() for fits in pair),
        "both": fmean(all(pair) for pair in first.values()),
        "apart": fmean(apart),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m distill.example.ambiguous FOLDER")
    print(write_ambiguous(sys.argv[1]))
