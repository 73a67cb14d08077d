"""A collection: passages, queries, labels; and how one is gathered from any source, with every id checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distill.errors import DataError
from distill.pairs.passages import Passages
from distill.pairs.sources.base import Source


@dataclass(frozen=True, slots=True)
class Collection:
    """`passages` are title and text joined by a space; `qrels` are grades >= 0 of the split's queries only.

    `listed` are hard negatives that the source itself lists, best first; `split_of` says which part a query belongs
    to; `negative_grades` counts labels below 0 in the source, which are read as 0.
    """

    passages: Mapping[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    instructions: dict[str, str] = field(default_factory=dict)
    negative_grades: int = 0
    listed: dict[str, list[str]] = field(default_factory=dict)
    unlabelled: dict[str, list[str]] = field(default_factory=dict)
    split_of: dict[str, str] = field(default_factory=dict)


def gather(source: Source, split: str | None) -> Collection:
    """Everything of one split, checked: each judged query and passage has a text, each pair one grade.

    A source without labels gives its queries, none of them judged. Raises DataError naming the row.
    """
    queries: dict[str, str] = {}
    instructions: dict[str, str] = {}
    for where, key, text, instruction in source.queries():
        if key in queries:
            if source.repeats:
                continue
            raise DataError(f"{where}: the id {key!r} stands twice; ids must be unique")
        queries[key] = text
        if instruction:
            instructions[key] = instruction
    passages = Passages(source.passages(), source.repeats)
    if not passages:
        raise DataError(f"{source.name}: holds no passage")
    qrels: dict[str, dict[str, int]] = {}
    listed: dict[str, list[str]] = {}
    unlabelled: dict[str, list[str]] = {}
    negative = 0
    asked: dict[str, None] = {}
    for where, query_id, doc_id, grade in source.labels(split):
        if query_id not in queries:
            raise DataError(f"{where}: query {query_id!r} has no text in {source.holds[0]}; add it or take it out")
        if doc_id not in passages:
            raise DataError(f"{where}: passage {doc_id!r} has no text in {source.holds[1]}; add it or take it out")
        asked[query_id] = None
        if grade is None:
            unlabelled.setdefault(query_id, []).append(doc_id)
            continue
        labels = qrels.setdefault(query_id, {})
        if doc_id in labels:
            if source.repeats and labels[doc_id] == max(0, grade):
                continue
            raise DataError(f"{where}: the pair {query_id!r}, {doc_id!r} is judged twice; keep one line")
        negative += grade < 0
        labels[doc_id] = max(0, grade)
    for query_id, doc_id in source.negatives(split):
        asked[query_id] = None
        listed.setdefault(query_id, []).append(doc_id)
    if not asked and source.labelled:
        raise DataError(f"{source.name}: is empty; it needs lines of query-id, corpus-id, score")
    chosen = list(asked) if asked else list(queries)
    return Collection(
        passages=passages,
        queries={query_id: queries[query_id] for query_id in chosen},
        qrels={query_id: qrels.get(query_id, {}) for query_id in chosen},
        instructions={q: instructions[q] for q in chosen if q in instructions},
        negative_grades=negative,
        listed=listed,
        unlabelled=unlabelled,
    )
