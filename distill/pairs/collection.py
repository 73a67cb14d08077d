"""A collection: passages, queries, labels; and how one is gathered from any source, with every id checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Generic, TypeVar

from distill.disk_map import DiskMap
from distill.errors import DataError
from distill.files.gaps import MISSING, Gaps
from distill.files.texts import worded
from distill.files.values import check_forms, grade_of
from distill.pairs.passages import Passages, RepeatedId
from distill.pairs.sources.base import Source
from distill.texts import first_words

Group = TypeVar("Group", dict[str, float], dict[str, None], list[str])
_UNIQUE = "ids must be unique: mend them, or set pairs.ids: text for a table of pairs"


@dataclass(frozen=True, slots=True)
class Collection:
    """`passages` are title and text joined by a space; `qrels` are grades of the split's queries, for pairs from 0 on.

    `listed` are hard negatives that the source itself lists, best first; `split_of` says which part a query belongs
    to, where it is not train; `negative_grades` counts labels below 0 in the source, which pairs take as 0. A judged
    passage that has no text stays in `qrels`, since an evaluation counts it as not found; `left_out` is {what has no
    text: how many}, `counts` what else the source has counted, `by_split` the rows of labels by their column of splits.
    """

    passages: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, dict[str, float]]
    instructions: Mapping[str, str] = field(default_factory=dict)
    negative_grades: int = 0
    listed: Mapping[str, list[str]] = field(default_factory=dict)
    unlabelled: Mapping[str, Iterable[str]] = field(default_factory=dict)
    split_of: Mapping[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    by_split: dict[str, int] = field(default_factory=dict)

    def part_of(self, query_id: str) -> str:
        """The part that a query belongs to."""
        return self.split_of.get(query_id, "train")


class _Groups(DiskMap[Group], Generic[Group]):
    """Lists or dictionaries by query, of which the one asked for last is held."""

    def __init__(self, empty: Callable[[], Group]) -> None:
        super().__init__()
        self._empty: Callable[[], Group] = empty
        self._open: tuple[str, Group] | None = None

    def of(self, key: str) -> Group:
        """The query's group, to be changed in place until another is asked for; an empty one where there is none."""
        if self._open is None or self._open[0] != key:
            self.close()
            self._open = (key, self.get(key) or self._empty())
        return self._open[1]

    def close(self) -> None:
        """Write the group that is held; to be called before anything is read."""
        if self._open is not None:
            self[self._open[0]] = self._open[1]


def gather(source: Source, split: str | None, missing: float = MISSING, gains: bool = False) -> Collection:
    """Everything of one split, checked: an id has one text, a pair one grade, all but the share `missing` a text.

    A source without labels gives its queries, none of them judged. With `gains`, for an evaluation, labels may be
    decimal or below 0. Raises DataError naming the row.
    """
    queries, instructions = gather_queries(source)
    passages = gather_passages(source)
    if not passages:
        raise DataError(f"{source.name}: holds no passage")
    asked: DiskMap[str] = DiskMap()  # the queries of the split
    qrels: _Groups[dict[str, float]] = _Groups(dict)
    listed: _Groups[list[str]] = _Groups(list)
    unlabelled: _Groups[dict[str, None]] = _Groups(dict)
    negative, last = 0, None
    gaps = Gaps(missing, "the setting missing")
    for where, query_id, doc_id, grade in source.labels(split):
        known = query_id == last or query_id in queries
        if gaps.lacks("labels of queries", "query", query_id, known, where, source.holds[0], queries):
            continue
        if (
            gaps.lacks("labels of passages", "passage", doc_id, doc_id in passages, where, source.holds[1], passages)
            and grade is None
        ):
            continue
        if query_id != last:
            last = query_id
            asked.add(query_id, queries[query_id])
        labels = qrels.of(query_id)
        if grade is None:
            unlabelled.of(query_id)[doc_id] = None
            continue
        label = grade if gains else grade_of(grade, where)
        kept = label if gains else max(0, label)
        if doc_id not in labels:
            labels[doc_id] = kept
            negative += label < 0
        elif labels[doc_id] != kept:
            first = next(place for place, *ids, _ in source.labels(split) if ids == [query_id, doc_id])
            texts = f"query {_beginning(queries[query_id])}, passage {_beginning(passages.get(doc_id, ''))}"
            raise DataError(
                f"{where}: the pair {query_id!r}, {doc_id!r} is judged twice ({texts}): {label} here, "
                f"{labels[doc_id]} at {first}; keep one line"
            )
    gaps.check()
    for query_id, doc_id in source.negatives(split):
        asked.add(query_id, queries[query_id])
        listed.of(query_id).append(doc_id)
    if not asked and source.labelled:
        raise DataError(f"{source.name}: is empty; it needs lines of query-id, corpus-id, score")
    chosen = asked or queries
    for query_id in chosen if len(qrels) < len(chosen) else ():
        qrels.of(query_id)
    for groups in (qrels, listed, unlabelled):
        groups.close()
    of_chosen = instructions if len(chosen) == len(queries) else _of(chosen, instructions)
    return Collection(
        passages=passages,
        queries=chosen,
        qrels=qrels,
        instructions=of_chosen,
        negative_grades=negative,
        listed=listed,
        unlabelled=unlabelled,
        left_out=gaps.counts(),
        counts=dict(source.counts),
        by_split=dict(source.by_split),
    )


def _of(chosen: Iterable[str], texts: DiskMap[str]) -> DiskMap[str]:
    return DiskMap((key, texts[key]) for key in chosen if key in texts)


def _beginning(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def gather_texts(source: Source) -> Collection:
    """The texts of a source, without its labels. Raises DataError naming the row."""
    queries, instructions = gather_queries(source)
    return Collection(gather_passages(source), queries, {}, instructions)


def gather_queries(source: Source) -> tuple[DiskMap[str], DiskMap[str]]:
    """({query: text}, {query: instruction}) of all queries. Raises DataError for an id with two texts."""
    queries: DiskMap[str] = DiskMap()
    instructions: DiskMap[str] = DiskMap()
    last = None
    for where, key, text, instruction in worded(source.queries(), itemgetter(0), itemgetter(2)):
        if (key, text, instruction) == last:
            continue
        last = (key, text, instruction)
        if queries.add(key, text):
            if instruction:
                instructions[key] = instruction
        elif (text, instruction or None) != (queries[key], instructions.get(key)):
            first = next(place for place, other, *_ in source.queries() if other == key)
            what = "text" if text != queries[key] else "instruction"
            raise DataError(f"{where}: the id {key!r} is there twice, with another {what} at {first}; {_UNIQUE}")
    check_forms(queries, source.name)
    return queries, instructions


def gather_passages(source: Source) -> Passages:
    """Every passage, cut as the source says. Raises DataError, naming both places, for an id with two texts."""
    most = source.cut_words
    rows = worded(source.passages(), itemgetter(0), itemgetter(2))
    try:
        passages = Passages(((where, key, first_words(text, most)) for where, key, text in rows) if most else rows)
    except RepeatedId as error:
        first = next(place for place, key, _ in source.passages() if key == error.id)
        raise DataError(f"{error} at {first}; {_UNIQUE}") from None
    check_forms(passages, source.name)
    return passages
