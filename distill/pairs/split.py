"""Seeded splits by query: no query is in two parts, nor are two queries of the same stems. Called by `build`."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import replace

from distill.disk_map import DiskMap, sorted_keys
from distill.errors import DataError
from distill.overlap import EMPTY
from distill.pairs.analysis import Analysis
from distill.pairs.collection import Collection
from distill.texts import clean_text, normalised

_EMPTY = EMPTY - {"no", "not"}


def parted(
    data: Collection,
    shares: Mapping[str, float],
    seed: int,
    split: str | None = None,
    known: Mapping[str, str] | None = None,
) -> Collection:
    """The queries of one part, or, with None, all of them with their part in `split_of`; `known` as in `part_of_each`.

    Raises DataError for a part that is none of the shares.
    """
    if split is not None and split not in shares:
        raise DataError(f"split {split!r} is none of the shares {', '.join(shares)}; name one of them")
    where = part_of_each(data.queries, shares, seed, known=known)
    data = replace(data, split_of=where)
    return data if split is None else subset(data, [q for q in data.queries if where[q] == split])


def subset(data: Collection, queries: Iterable[str]) -> Collection:
    """The collection with these queries only, whose labels and texts are held in memory."""
    kept = list(queries)
    return replace(
        data,
        queries={q: data.queries[q] for q in kept},
        qrels={q: data.qrels.get(q, {}) for q in kept},
        instructions={q: data.instructions[q] for q in kept if q in data.instructions},
        listed={q: data.listed[q] for q in kept if q in data.listed},
        unlabelled={q: data.unlabelled[q] for q in kept if q in data.unlabelled},
        split_of={q: data.split_of[q] for q in kept if q in data.split_of},
    )


def part_of_each(
    queries: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
    together: Mapping[str, str] | None = None,
    known: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """{query id: part}: a seeded shuffle of groups of queries, cut where the shares say.

    Queries whose words have the same stems, whatever their order, are one group; `together` adds groups by a key of
    the caller's, such as the passage that a query was written for. In memory are 32 bytes a query. `known` is
    {query text: part} of an earlier run: a group that holds such a query goes to its part, to train where there are
    several, and only the other groups are drawn.
    """
    analysis = Analysis("en")
    first: DiskMap[int] = DiskMap()  # a stem bag or a key of the caller's -> the query that has it, by its rank
    of = array("q")  # the rank of a query -> one that is in its group; a group's first query has its own

    def root(rank: int) -> int:
        while of[rank] != rank:
            of[rank] = of[of[rank]]
            rank = of[rank]
        return rank

    for rank, query_id in enumerate(sorted_keys(queries)):
        marks = ["stems:" + signature(queries[query_id], analysis)]
        if together and query_id in together:
            marks.append("key:" + together[query_id])
        groups = dict.fromkeys(root(first[mark]) for mark in marks if not first.add(mark, rank))
        of.append(next(iter(groups), rank))
        for other in list(groups)[1:]:
            of[other] = of[rank]
    sizes = array("q", bytes(8 * len(of)))
    for rank in range(len(of)):
        sizes[root(rank)] += 1
    names, assigned, start = list(shares), 0, 0.0
    fixed: dict[int, int] = {}  # the first query of a group whose part is known -> the part
    for rank, query_id in enumerate(sorted_keys(queries)) if known else ():
        known_part = (known or {}).get(clean_text(queries[query_id]))
        if known_part is not None and (known_part == "train" or root(rank) not in fixed):
            fixed[root(rank)] = names.index(known_part)
    order = array("q", (rank for rank, above in enumerate(of) if rank == above and rank not in fixed))
    random.Random(f"split:{seed}").shuffle(order)
    drawn = len(of) - sum(sizes[rank] for rank in fixed)
    ends = []
    for name in names:
        start += shares[name]
        ends.append(round(start * drawn))
    part = array("q", of)  # of a group's first query
    for rank, known_index in fixed.items():
        part[rank] = known_index
    index = 0
    for rank in order:
        while index < len(names) - 1 and assigned >= ends[index]:
            index += 1
        part[rank] = index
        assigned += sizes[rank]
    return DiskMap((query_id, names[part[root(rank)]]) for rank, query_id in enumerate(sorted_keys(queries)))


def signature(query: str, analysis: Analysis) -> str:
    """What is asked, whatever the order and the form of the words: the stems of those that carry meaning, sorted.

    "no", "not" and "without" carry meaning. Two queries of one signature are taken as the same.
    """
    words = [word for word in normalised(query).split() if word not in _EMPTY]
    stems = analysis(query) if analysis.without_spaces else map(analysis.stem, words)
    return " ".join(sorted(set(stems))) or " ".join(query.lower().split())
