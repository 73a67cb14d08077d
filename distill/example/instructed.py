"""The world's test of instructions, as FollowIR has it: each query under a broad instruction and a narrower one.

    python -m distill.example.instructed FOLDER

The narrower one adds a condition that half of the relevant passages fail. Labels follow from the facts, not the text.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from distill.example.folder import document_row, write_folder
from distill.example.tasks import STYLES
from distill.example.vocabulary import KINDS, PLACES
from distill.example.world import Condition, Query, candidate, condition_text, draw_query, passage, query_text

BROAD = "Whatever fits is welcome."


def write_instructed(folder: str | Path, seed: int = 0, queries: int = 60) -> dict[str, int]:
    """Write corpus, queries (ID-og, ID-changed), qrels/test.tsv, qrel_diff.jsonl, top_ranked.jsonl; returns the counts.

    Ten passages a query: two relevant under both instructions, three that the change turns not relevant, five that
    are relevant under neither.
    """
    rng = random.Random(f"instructed:{seed}")
    tables: dict[str, list[dict[str, Any]]] = {"corpus": [], "queries": [], "qrel_diff": [], "top_ranked": []}
    qrels: list[tuple[str, str, int]] = []
    seen: set[str] = set()
    while len(seen) < queries:
        query = draw_query(rng, rng.choice(KINDS), rng.choice(PLACES), rng.choice((1, 2)), 0.7)
        text = query_text(rng, query)
        if text in seen:
            continue
        name = f"i{len(seen)}"
        seen.add(text)
        extra = _extra(rng, query)
        narrow = Query(query.kind, query.place, (*query.conditions, extra))
        things = [candidate(rng, narrow, None) for _ in range(2)] + [candidate(rng, narrow, extra) for _ in range(3)]
        things += [candidate(rng, narrow, rng.choice(query.conditions)) for _ in range(3)]
        for _ in range(2):
            elsewhere = rng.choice([place for place in PLACES if place != query.place])
            things.append(candidate(rng, Query(query.kind, elsewhere, query.conditions), None))
        rng.shuffle(things)
        documents = {f"{name}-d{number}": thing for number, thing in enumerate(things)}
        wording = rng.choice(rng.choice(STYLES)[1]).format(it=condition_text(rng, query.kind, extra))
        for suffix, instruction, asked in (("og", BROAD, query), ("changed", f"{BROAD} {wording}", narrow)):
            tables["queries"].append({"_id": f"{name}-{suffix}", "text": text, "instruction": instruction})
            tables["top_ranked"].append({"query-id": f"{name}-{suffix}", "corpus-ids": list(documents)})
            qrels += [(f"{name}-{suffix}", doc, int(asked.relevant(thing))) for doc, thing in documents.items()]
        lost = [doc for doc, thing in documents.items() if query.relevant(thing) and not narrow.relevant(thing)]
        tables["qrel_diff"].append({"query-id": name, "corpus-ids": lost})
        tables["corpus"] += [document_row(doc, *passage(rng, thing)) for doc, thing in documents.items()]
    return {**write_folder(Path(folder), tables, qrels, "test"), "queries": queries}


def _extra(rng: random.Random, query: Query) -> Condition:
    """A condition on something that the query leaves open."""
    asked = {condition.topic.key for condition in query.conditions if condition.topic}
    free = [topic for topic in query.kind.topics if topic.key not in asked]
    return Condition(rng.choice(free), wanted=rng.random() < 0.5)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m distill.example.instructed FOLDER")
    print(write_instructed(sys.argv[1]))
