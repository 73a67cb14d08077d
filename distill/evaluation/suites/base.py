"""What every layout becomes: texts, labels, the lists that are ranked, and the measures over several rankings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from distill.errors import DataError
from distill.files.gaps import Gaps
from distill.files.qrels import Qrels
from distill.files.rows import Row, rows
from distill.files.runs import Rankings
from distill.files.values import id_of
from distill.statistics.measures import per_query

OWN_LISTS = "top_ranked.jsonl"
Extra = Callable[[Rankings], dict[str, dict[str, float]]]


class Texts(Protocol):
    """A collection as whoever reads BEIR folders hands it over."""

    @property
    def passages(self) -> Mapping[str, str]:
        """{passage: text}."""

    @property
    def queries(self) -> Mapping[str, str]:
        """{query: text}."""

    @property
    def qrels(self) -> Qrels:
        """{query: {passage: grade}}."""

    @property
    def instructions(self) -> Mapping[str, str]:
        """{query: instruction}, of those that have one."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """{what has no text and was left out: how many}."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One evaluation set. `candidates` are the lists to rank where the set brings its own, else None.

    `excluded` are passages that no list may hold; `extra` gives the measures over several rankings, {measure: {unit:
    value}}; `measured` says whether the usual measures by query mean anything here; `relevant_from` is the lowest
    grade that counts as relevant where the set defines it, `stop_words` whether BM25 may drop them (with the stemmer).
    `left_out` is {what was named and has no text: how many}.
    """

    kind: str
    passages: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    instructions: Mapping[str, str] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[str]] | None = None
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    extra: Extra | None = None
    measured: bool = True
    relevant_from: int | None = None
    stop_words: bool = True
    left_out: Mapping[str, int] = field(default_factory=dict)

    def values(self, run: Rankings, measures: Sequence[str]) -> dict[str, dict[str, float]]:
        """{measure: {unit: value}} of a run: the suite's own first, then those by query."""
        own = self.extra(run) if self.extra else {}
        return {**own, **(per_query(self.qrels, run, measures) if self.measured else {})}


class Layout(ABC):
    """How one kind of evaluation set lies in its folder. Each module here, and each `file.py:Class`, holds one."""

    beir_shaped: bool = True
    """Whether corpus, queries and labels are read as a source of pairs reads them, and given to `read`."""

    names: tuple[str, ...] = (OWN_LISTS,)
    """The files apart from those. Of a kind of one's own all files of the folder are watched; these must be there."""

    @abstractmethod
    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The set in `folder`, of which `split` is asked for; `plain(NAME, texts)` is one of labels alone.

        `texts` are its corpus, queries and labels where it is shaped as BEIR, else empty; `gaps` counts what lists name
        and the corpus lacks. Raises DataError with file and line.
        """

    def files(self, folder: Path, split: str) -> list[Path]:
        """The files apart from corpus, queries and labels: a change of one is noticed."""
        return [folder / name for name in self.names]


def plain(kind: str, texts: Texts) -> Suite:
    """A set of queries with graded labels. DL19's and DL20's grade 1 is "related", not relevant."""
    return Suite(
        kind,
        texts.passages,
        texts.queries,
        texts.qrels,
        texts.instructions,
        relevant_from=2 if kind == "dl19" else None,
    )


def rows_with(path: Path, needs: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """(place, row) of a table whose rows have the columns `needs`. Raises DataError with file and line."""
    holds = f"a row of it has {', '.join(needs)}"
    for where, row in rows(path, holds):
        missing = [key for key in needs if key not in row]
        if missing:
            raise DataError(f"{where}: no {missing[0]!r}; {holds}")
        yield where, row


def read_lists(path: Path, texts: Texts, gaps: Gaps) -> dict[str, list[str]]:
    """{query: passages} of a file of query-id and corpus-ids; passages without a text are left out and counted.

    Raises DataError with file and line.
    """
    lists = {
        query: [
            doc
            for doc in dict.fromkeys(ids)
            if not gaps.lacks(f"ids of {path.name}", "passage", doc, doc in texts.passages, where, "corpus.jsonl")
        ]
        for where, query, ids in _lists(path)
    }
    gaps.check()
    return lists


def _lists(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    queries: set[str] = set()
    for where, row in rows_with(path, ("query-id", "corpus-ids")):
        ids, query = row["corpus-ids"], id_of(row["query-id"], where)
        if query is None or query in queries:
            raise DataError(f"{where}: query-id {query!r} {'is there twice' if query else 'is empty'}; one row a query")
        if not isinstance(ids, list):
            raise DataError(f"{where}: corpus-ids is a list of passage ids")
        queries.add(query)
        yield where, query, [str(id_of(value, where)) for value in ids]


def candidate_lists(folder: Path, texts: Texts, gaps: Gaps) -> dict[str, list[str]] | None:
    """The lists of top_ranked.jsonl, of the queries asked about; None where there is no such file. Raises DataError."""
    path = folder / OWN_LISTS
    if not path.exists():
        return None
    lists = read_lists(path, texts, gaps)
    _check_listed(path, lists, texts.queries)
    return {query: lists[query] for query in texts.queries}


def check_own_lists(folder: Path, queries: Iterable[str]) -> None:
    """Raise DataError, before anything is judged, where top_ranked.jsonl cannot be read or lacks one of the queries."""
    path = folder / OWN_LISTS
    if path.exists():
        _check_listed(path, {query for _, query, _ in _lists(path)}, queries)


def own_list_lengths(folder: Path) -> dict[str, int]:
    """{query: passages} of top_ranked.jsonl, empty without it. Raises DataError where it cannot be read."""
    path = folder / OWN_LISTS
    return {query: len(ids) for _, query, ids in _lists(path)} if path.exists() else {}


def _check_listed(path: Path, lists: Container[str], queries: Iterable[str]) -> None:
    for query in queries:
        if query not in lists:
            raise DataError(f"{path}: no list for query {query!r}; give one to each query, or take the file away")
