"""Seeded splits by query: no query is in two parts, nor are two queries of the same stems. Called by `build`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from distill.errors import DataError
from distill.overlap import EMPTY
from distill.pairs.analysis import Analysis
from distill.pairs.collection import Collection
from distill.texts import normalised

_EMPTY = EMPTY - {"no", "not"}


def parted(data: Collection, shares: Mapping[str, float], seed: int, split: str | None = None) -> Collection:
    """The queries of one part, or, with None, all of them with their part in `split_of`.

    Raises DataError for a part that is none of the shares.
    """
    if split is not None and split not in shares:
        raise DataError(f"split {split!r} is none of the shares {', '.join(shares)}; name one of them")
    where = part_of_each(data.queries, shares, seed)
    kept = [q for q in data.queries if split in (None, where[q])]
    return subset(replace(data, split_of={q: where[q] for q in kept}), kept)


def subset(data: Collection, queries: Iterable[str]) -> Collection:
    """The collection with these queries only."""
    kept = list(queries)
    return replace(
        data,
        queries={q: data.queries[q] for q in kept},
        qrels={q: data.qrels[q] for q in kept if q in data.qrels},
        instructions={q: data.instructions[q] for q in kept if q in data.instructions},
        listed={q: data.listed[q] for q in kept if q in data.listed},
        unlabelled={q: data.unlabelled[q] for q in kept if q in data.unlabelled},
        split_of={q: data.split_of[q] for q in kept if q in data.split_of},
    )


def part_of_each(
    queries: Mapping[str, str], shares: Mapping[str, float], seed: int, together: Mapping[str, str] | None = None
) -> dict[str, str]:
    """{query id: part}: a seeded shuffle of groups of queries, cut where the shares say.

    Queries whose words have the same stems, whatever their order, are one group; `together` adds groups by a key of
    the caller's, such as the passage that a query was written for.
    """
    analysis = Analysis("en")
    groups: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}  # query -> the group it belongs to
    first: dict[str, str] = {}  # a stem bag or a key of the caller's -> the group it was first seen in
    for query_id in sorted(queries):
        marks = ["stems:" + signature(queries[query_id], analysis)]
        if together and query_id in together:
            marks.append("key:" + together[query_id])
        known_groups = dict.fromkeys(first[mark] for mark in marks if mark in first)
        group = next(iter(known_groups), query_id)
        for other in list(known_groups)[1:]:
            for member in groups.pop(other):
                groups[group].append(member)
                group_of[member] = group
            first.update({mark: group for mark, there in first.items() if there == other})
        groups.setdefault(group, []).append(query_id)
        group_of[query_id] = group
        first.update(dict.fromkeys(marks, group))
    order = sorted(groups)
    random.Random(f"split:{seed}").shuffle(order)
    part_of: dict[str, str] = {}
    names, total, assigned, start = list(shares), len(queries), 0, 0.0
    ends = []
    for name in names:
        start += shares[name]
        ends.append(round(start * total))
    index = 0
    for group in order:
        while index < len(names) - 1 and assigned >= ends[index]:
            index += 1
        part_of.update(dict.fromkeys(groups[group], names[index]))
        assigned += len(groups[group])
    return part_of


def signature(query: str, analysis: Analysis) -> str:
    """What is asked, whatever the order and the form of the words: the stems of those that carry meaning, sorted.

    "no", "not" and "without" carry meaning. Two queries of one signature are taken as the same.
    """
    words = [word for word in normalised(query).split() if word not in _EMPTY]
    stems = analysis(query) if analysis.without_spaces else map(analysis.stem, words)
    return " ".join(sorted(set(stems))) or " ".join(query.lower().split())
