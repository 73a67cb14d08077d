"""The world's test of instructions, as FollowIR has it: each query under a broad instruction and a narrower one.

    python -m distill.example.instructed FOLDER

The narrower one adds a condition that half of the relevant passages fail. Labels follow from the facts, not the text.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from distill.example.tasks import STYLES
from distill.example.vocabulary import KINDS, PLACES
from distill.example.world import Condition, Query, Thing, candidate, condition_text, draw_query, passage, query_text

BROAD = "Whatever fits is welcome."


def write_instructed(folder: str | Path, seed: int = 0, queries: int = 60) -> dict[str, int]:
    """Write corpus, queries (ID-og, ID-changed), qrels/test.tsv, qrel_diff.jsonl, top_ranked.jsonl; returns the counts.

    Ten passages a query: two relevant under both instructions, three that the change turns not relevant, five that
    are relevant under neither.
    """
    rng = random.Random(f"instructed:{seed}")
    rows: dict[str, list[dict[str, Any]]] = {"corpus": [], "queries": [], "qrel_diff": [], "top_ranked": []}
    qrels: list[str] = []
    seen: set[str] = set()
    while len(rows["qrel_diff"]) < queries:
        number = len(rows["qrel_diff"])
        query = draw_query(rng, rng.choice(KINDS), rng.choice(PLACES), rng.choice((1, 2)), 0.7)
        text = query_text(rng, query)
        if text in seen:
            continue
        seen.add(text)
        extra = _extra(rng, query)
        narrow = Query(query.kind, query.place, (*query.conditions, extra))
        things = [candidate(rng, narrow, None) for _ in range(2)] + [candidate(rng, narrow, extra) for _ in range(3)]
        things += [candidate(rng, narrow, rng.choice(query.conditions)) for _ in range(3)]
        things += [
            candidate(rng, Query(query.kind, _other(rng, query.place), query.conditions), None) for _ in range(2)
        ]
        rng.shuffle(things)
        name = f"i{number}"
        wording = rng.choice(rng.choice(STYLES)[1]).format(it=condition_text(rng, query.kind, extra))
        for suffix, instruction, asked in (("og", BROAD, query), ("changed", f"{BROAD} {wording}", narrow)):
            rows["queries"].append({"_id": f"{name}-{suffix}", "text": text, "instruction": instruction})
            rows["top_ranked"].append({"query-id": f"{name}-{suffix}", "corpus-ids": _ids(name, things)})
            for doc, thing in zip(_ids(name, things), things, strict=True):
                qrels.append(f"{name}-{suffix}\t{doc}\t{int(asked.relevant(thing))}\n")
        rated = zip(_ids(name, things), things, strict=True)
        lost = [doc for doc, thing in rated if query.relevant(thing) and not narrow.relevant(thing)]
        rows["qrel_diff"].append({"query-id": name, "corpus-ids": lost})
        for doc, thing in zip(_ids(name, things), things, strict=True):
            title, body = passage(rng, thing)
            rows["corpus"].append({"_id": doc, "title": title, "text": body})
    root = Path(folder)
    (root / "qrels").mkdir(parents=True, exist_ok=True)
    for file, found in rows.items():
        (root / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(qrels), encoding="utf-8")
    return {"queries": queries, "documents": len(rows["corpus"]), "pairs": len(qrels)}


def _ids(name: str, things: list[Thing]) -> list[str]:
    return [f"{name}-d{at}" for at in range(len(things))]


def _other(rng: random.Random, place: str) -> str:
    return rng.choice([each for each in PLACES if each != place])


def _extra(rng: random.Random, query: Query) -> Condition:
    """A condition on something that the query leaves open."""
    asked = {condition.topic.key for condition in query.conditions if condition.topic}
    free = [topic for topic in query.kind.topics if topic.key not in asked]
    return Condition(rng.choice(free), wanted=rng.random() < 0.5)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m distill.example.instructed FOLDER")
    print(write_instructed(sys.argv[1]))
