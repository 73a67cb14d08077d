"""Which column of a table is the query, the passage, the label …: by the settings or by its usual name. For `table`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.errors import DataError
from distill.files.rows import Row
from distill.files.values import keys, nearest, plain_name

# What a column is called where `columns` does not say; the first that there is. Case, "-" and " " do not count.
USUAL: dict[str, tuple[str, ...]] = {
    "query": ("query", "question", "query_text"),
    "passage": ("passage", "document", "doc", "text", "contents", "body"),
    "title": ("title",),
    "label": ("label", "relevance", "rel", "grade"),
    "query_id": ("query_id", "qid"),
    "doc_id": ("doc_id", "corpus_id", "docid", "docno", "passage_id", "pid"),
    "instruction": ("instruction",),
    "split": ("split",),
    "clicks": ("clicks", "click_count", "num_clicks"),
    "impressions": ("impressions", "impression_count", "num_impressions", "views", "imps", "impr", "shown"),
    "position": ("position", "rank", "avg_position", "average_position", "pos"),
}
# Where there is none of those: names of exports of search logs, and of ESCI.
ALSO: dict[str, tuple[str, ...]] = {
    "query": (
        "search", "search_term", "search_terms", "search_query", "search_phrase", "query_string", "keyword",
        "top_queries",
    ),
    "passage": (
        "passage_text", "document_text", "doc_text", "content", "snippet", "description", "abstract", "product_title",
    ),
}  # fmt: skip
SCORE = "score"  # the labels of BEIR's qrels; in a table of pairs it is a run's as often


class Columns:
    """Finds columns in the rows of the source `source`; `named` are those that the settings name, {what: column}.

    `of_pairs` says that one table holds queries, passages and labels.
    """

    def __init__(self, source: str, named: Mapping[str, str], of_pairs: bool) -> None:
        self._source, self._named, self._of_pairs = source, named, of_pairs
        self._known: dict[tuple[tuple[str, ...], str], str | None] = {}  # (a row's columns, what) -> the column

    def of(self, row: Row, what: str) -> str | None:
        """The row's column for `what`; None where it has none.

        Raises DataError for a named one that is not there, and where two columns may be it.
        """
        key = (tuple(row), what)
        if key not in self._known:
            self._known[key] = self._find(row, what)
        return self._known[key]

    def _find(self, row: Row, what: str) -> str | None:
        named = self._named.get(what)
        if named in row:
            return named
        usual = _called(USUAL[what], row) or _called(ALSO.get(what, ()), row)
        if self._of_pairs:  # a column that is named for one thing is nothing else by its usual name
            others = {plain_name(name) for other, name in self._named.items() if other != what}
            usual = [name for name in usual if plain_name(name) not in others]
        if named is not None:
            usual = [name for name in row if plain_name(name) == plain_name(named)]
            if not usual:
                near = nearest(named, row)
                raise DataError(f"{self._source}: no column {named!r} (columns.{what}){near}; it has {keys(row)}")
        if what == "label" and not usual and not self._of_pairs:
            usual = [name for name in row if plain_name(name) == SCORE]
        if len(usual) > 1:
            raise DataError(
                f"{self._source}: {' and '.join(map(repr, usual))} may both be the {what}; name one in columns.{what}"
            )
        return usual[0] if usual else None


def _called(names: Sequence[str], row: Row) -> list[str]:
    """The row's columns of these names, in their order."""
    return [column for name in names for column in row if plain_name(column) == name]
