"""Pairs from a source: what was judged, and negatives where there are none or more are wanted."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.pairs.beir import qrels_files, read_beir
from distill.pairs.collection import Collection
from distill.pairs.settings import NegativeSettings, PairSettings
from distill.records import Pair, make_pair


def collection(settings: PairSettings, folder: Path, seed: int, part: str = "train") -> Collection:
    """The collection that the settings name, or of its `part` where the split is given as shares."""
    if isinstance(settings.split, dict):
        return read_beir(folder, part, settings.split, seed, settings.qrels)
    return read_beir(folder, settings.split)


def inputs(folder: Path) -> list[Path]:
    """The files that a source reads."""
    return [*sorted(folder.glob("corpus.jsonl*")), *sorted(folder.glob("queries.jsonl*")), *qrels_files(folder)]


def build(settings: PairSettings, seed: int, folder: Path) -> tuple[list[Pair], dict[str, Any]]:
    """(pairs, counts). Equal texts are one pair, the second one's id in `duplicate`.

    Raises DataError where the source cannot be read, or holds nothing to ask about.
    """
    data = collection(settings, folder, seed)
    queries = sorted(data.queries)
    if settings.queries is not None:
        queries = sorted(random.Random(f"queries:{seed}").sample(queries, min(settings.queries, len(queries))))
    found: dict[str, Pair] = {}
    counts: Counter[str] = Counter()

    def add(query_id: str, doc_id: str, label: int, origin: str, source: str) -> None:
        if not data.passages[doc_id] or not data.queries[query_id].strip():
            counts["empty"] += 1
            return
        pair = make_pair(
            query_id, doc_id, data.queries[query_id], data.passages[doc_id], data.instructions.get(query_id),
            label=label, label_origin=origin, source=source, split="train",
        )  # fmt: skip
        first = found.get(pair.pair_id)
        if first is None:
            found[pair.pair_id] = pair
        else:
            counts["duplicates"] += 1
            from dataclasses import replace

            found[pair.pair_id] = replace(first, duplicate=doc_id)

    for query_id in queries:
        for doc_id, grade in sorted(data.qrels[query_id].items()):
            add(query_id, doc_id, 1 if grade >= settings.relevant_from else 0, "judged", "qrels")
    judged_negatives = sum(pair.label == 0 for pair in found.values())
    negatives = settings.negatives or (NegativeSettings() if not judged_negatives else None)
    if negatives is not None:
        for query_id, doc_id, rank in _mined(data, queries, negatives, seed):
            add(query_id, doc_id, 0, "assumed", f"bm25:{rank}")
    if not found:
        raise DataError(f"{folder}: no pair is left; {counts['empty']} had an empty query or passage")
    pairs = list(found.values())
    return pairs, {
        "pairs": len(pairs),
        "queries": len({pair.query_id for pair in pairs}),
        "relevant": sum(pair.label == 1 for pair in pairs),
        "empty": counts["empty"],
        "duplicates": counts["duplicates"],
        "negative_grades": data.negative_grades,
        "by_source": dict(Counter(pair.source.split(":")[0] for pair in pairs)),
        "by_split": dict(Counter(pair.split for pair in pairs)),
    }


def _mined(data: Collection, queries: list[str], negatives: NegativeSettings, seed: int) -> list[tuple[str, str, int]]:
    """(query, passage, rank) of unjudged passages, drawn among BM25's ranks `first` to `last`."""
    from distill.pairs.bm25 import Bm25

    deepest = max((len(labels) for labels in data.qrels.values()), default=0)
    ranked = Bm25(data.passages).top({q: data.queries[q] for q in queries}, negatives.last + deepest)
    chosen = []
    for query_id in queries:
        known = data.qrels[query_id]
        free = [(d, rank) for rank, (d, _) in enumerate(ranked[query_id], 1) if d not in known and data.passages[d]]
        window = [(d, rank) for d, rank in free if negatives.first <= rank <= negatives.last]
        picked = random.Random(f"negatives:{seed}:{query_id}").sample(window, min(negatives.per_query, len(window)))
        chosen += [(query_id, doc_id, rank) for doc_id, rank in sorted(picked, key=lambda each: each[1])]
    return chosen
