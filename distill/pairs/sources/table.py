"""Rows with named columns: JSON, CSV, TSV or Parquet files.

Either one table of pairs (query, passage and, where somebody judged them, label), or three tables named in `files`:
`corpus`, `queries` and `qrels`. Ids that there are no columns for are made from the texts. A table with clicks and no
labels is labelled by `distill.pairs.clicks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from distill.errors import ConfigError, DataError
from distill.files.numbers import NO_JUDGEMENTS, Numbers
from distill.files.roles import are_tables, only_one, roles_of
from distill.files.rows import ENDINGS, UNICODE_TEXT, Row, first_rows, rows, table_files
from distill.files.splits import as_one, check_names, is_misspelt, is_split, may_hold_splits, no_such_split, split_files
from distill.files.text import ending
from distill.files.texts import one_column
from distill.files.values import gain_of, id_of, is_missing, is_no_label, keys, plain_name, text_of
from distill.inputs import input_path
from distill.pairs.clicks import ClickRow, click_labels
from distill.pairs.sources._columns import SCORE, USUAL, Columns
from distill.pairs.sources._hints import grades_for, of_columns
from distill.pairs.sources.base import Label, Passage, Query, Source
from distill.records import digest
from distill.texts import passage_text

if TYPE_CHECKING:
    from distill.pairs.settings import DataSettings

_ALONE = ("_id", "id")  # the id's usual names in a table that holds queries, or passages, alone
LOOKED_AT = 10_000  # rows, for the words of a column of labels
_SCORES = (SCORE, "scores", "similarity", "bm25")
_LIKE_LABELS = {  # words in the names of columns that hold labels or clicks
    *("label", "labels", "lable", "rel", "relevance", "relevancy", "relevant", "relevanz", "grade", "grades"),
    *("rating", "ratings", "stars", "vote", "votes", "annotator", "annotators", "annotation", "gold", "qrel", "qrels"),
    *("judgement", "judgment", "click", "clicked", "clicks", "ctr"),
    *_SCORES,
}


class Rows(Protocol):
    """One table, wherever it lies."""

    def splits(self) -> Sequence[str]:
        """The splits that the data come in; none where they are one piece."""

    def names(self) -> list[str]:
        """What its files are called; none where they have no names of the user's."""

    def rows(self, split: str | None = None) -> Iterator[tuple[str, Row]]:
        """(place, row) of one of the splits, or of all that are read."""


class Table(Source):
    """`tables` maps `pairs`, or `corpus`, `queries` and `qrels`, to their rows.

    Where `ids` is `text`, columns of ids in a table of pairs are not read: equal texts are one passage or query.
    """

    labelled = False
    holds = ("the queries", "the corpus")

    def __init__(
        self,
        name: str,
        tables: Mapping[str, Rows],
        settings: DataSettings,
        paths: list[Path],
    ) -> None:
        from distill.pairs.settings import PairSettings

        columns, ids = dict(settings.columns), settings.ids
        if plain_name(columns.get("label", "")) in USUAL["clicks"]:  # 37 clicks are no grade
            columns["clicks"] = columns.pop("label")
        unknown = set(columns) - set(USUAL)
        if unknown:
            raise ConfigError(f"pairs.columns.{min(unknown)}: not one of {', '.join(USUAL)}")
        if "pairs" not in tables and not {"corpus", "queries"} <= set(tables):
            raise ConfigError("pairs.files: names corpus, queries and qrels, or is left out for one table of pairs")
        if ids == "text" and "pairs" not in tables:
            raise ConfigError("pairs.ids: text is for one table of pairs; qrels need the ids of corpus and queries")
        self.name, self._tables, self._columns, self._paths = name, tables, columns, paths
        self._unlabelled = isinstance(settings, PairSettings) and settings.judge is not None
        self._by_text, self._clicks = ids == "text", settings.clicks
        self._one = "pairs" in tables
        self._column = Columns(name, columns, self._one).of

    @classmethod
    def open(cls, settings: DataSettings, folder: Path, base: Path) -> Source:
        if settings.path and not folder.exists():
            raise DataError(f"{folder}: no such file or folder (pairs.path)")
        within = folder if settings.path and folder.is_dir() else base
        named = {name: input_path(within, value) for name, value in settings.files.items()} or {"pairs": folder}
        tables = {name: _Files(place) for name, place in named.items()}
        paths = [path for table in tables.values() for path in table.paths]
        return cls(str(next(iter(named.values()))), tables, settings, paths)

    @classmethod
    def recognise(cls, path: Path) -> dict[str, str] | None:
        """A table, a folder of tables, or one with three tables that are called corpus, queries and qrels."""
        roles = roles_of(path)
        if {"corpus", "queries", "qrels"} <= set(roles) and are_tables(roles):
            only_one(path, roles, "corpus", "queries", "qrels")
            return {role: roles[role][0].name for role in ("corpus", "queries", "qrels")}
        first = next(first_rows(path, (*ENDINGS, UNICODE_TEXT) if path.is_file() else ENDINGS), None)
        return {} if first is not None and (len(first) > 1 or ending(path) != UNICODE_TEXT) else None

    def splits(self) -> list[str]:
        """The files', the dataset's, or those of a column."""
        table = self._labelled_table()
        if table is None or table.splits():
            return list(table.splits()) if table else []
        values = (self._value(row, "split") for _, row in table.rows())
        return list(dict.fromkeys(str(value).strip() for value in values if not is_missing(value)))

    def column_names(self) -> dict[str, str]:
        """{what: the column that is read as it}, by the first row of a table of pairs; {} of three tables."""
        first = next(self._tables["pairs"].rows(), None) if self._one else None
        names = {what: self._column(first[1], what) for what in USUAL} if first else {}
        return {what: name for what, name in names.items() if name is not None}

    @property
    def divided(self) -> bool:  # type: ignore[override]
        """Whether the data come in splits, or have a column of them."""
        table = self._labelled_table()
        if table is None or table.splits():
            return table is not None
        return any(not is_missing(self._value(row, "split")) for _, row in table.rows())

    def check_split(self, split: str) -> None:
        """Of data without splits, by the names of the file of labels; what columns there are is said."""
        table = self._labelled_table()
        if table is None or self.divided:
            return
        first = next(table.rows(), None)
        check_names(
            split, table.names(), f"name their column in columns.split (it has {keys(first[1])})" if first else ""
        )

    def files(self) -> list[Path]:
        """The tables' files."""
        return self._paths

    def passages(self) -> Iterator[Passage]:
        """Title and text joined."""
        for where, row in self._rows("corpus"):
            text = self._passage(row, where)
            yield where, self._id(row, "doc_id", where, text), text

    def queries(self) -> Iterator[Query]:
        """With the instruction, where there is a column."""
        for where, row in self._rows("queries"):
            text, instruction = self._query(row, where)
            yield where, self._id(row, "query_id", where, text, instruction), text, instruction

    def labels(self, split: str | None) -> Iterator[Label]:
        """Of the rows of this split, where there are splits; grade None in a table without labels."""
        table = self._labelled_table()
        rows = self._of_split(table, split) if table else iter(())
        first = next(rows, None)
        if first is None:
            return
        rows = chain([first], rows)
        self.counts.clear()
        if table is not None and len(table.splits()) < 2:
            self.counts.update(as_one(table.names()))
            self._check_split_column(first[1], first[0])
        if self._has_clicks(first[1]):
            yield from click_labels(self._click_rows(rows), self._clicks, self.counts)
            return
        odd = self._check_label_column(first[1], first[0])
        named, clicked, reference = False, False, first[1]
        numbers = Numbers() if self._by_score(first[1]) else None
        count = 0
        for where, row in rows:
            said = self._value(row, "label")
            query_id, doc_id = self._pair(row, where)
            if tuple(row) not in odd:
                odd[tuple(row)] = None
                self._check_same_columns(reference, row, where)
                reference = reference if self._column(reference, "label") else row
            count += 1
            named = named or not is_no_label(said)
            clicked = clicked or not is_missing(self._value(row, "clicks"))
            if not self._one and self._column(row, "label") is None:
                raise DataError(f"{where}: no column of labels; name it in columns.label. It has {keys(row)}")
            gain = None if is_no_label(said) else self._gain(said, where)
            if numbers is not None and gain is not None:
                numbers.add(query_id, gain)
            yield where, query_id, doc_id, gain
        if numbers and numbers.are_no_grades:
            raise DataError(f"{self.name}: score {NO_JUDGEMENTS}; where it holds grades, name columns.label")
        if clicked and not named:
            raise DataError(
                f"{self.name}: no row has a label, and there are clicks; take the column of labels out, "
                "or name columns.clicks, to make labels of them"
            )
        if not named and self._one:
            self.counts[f"pairs in all, and no label (columns: {keys(first[1])})"] = count

    def _gain(self, value: object, where: str) -> float:
        """A label as a number. Raises DataError for a word, with a grade for each word of the column to begin from."""
        try:
            return gain_of(value, where)
        except DataError as error:
            if not isinstance(value, str) or not value[:1].isalpha():
                raise
            table = self._labelled_table()
            labels = (self._value(row, "label") for _, row in islice(table.rows(), LOOKED_AT)) if table else ()
            words = dict.fromkeys(str(label).strip() for label in labels if not is_no_label(label))
            name = next((name for name in (self._columns.get("label"), *USUAL["label"]) if name), "label")
            raise DataError(f"{error}. {grades_for(name, list(words))}") from None

    def _check_label_column(self, row: Row, where: str) -> dict[tuple[str, ...], None]:
        """The columns that are checked so far. Raises DataError where a column that is not known seems to be labels, or
        where the labels are a run's scores.
        """
        if self._by_score(row) and "rank" in map(plain_name, row):
            raise DataError(f"{where}: score next to rank {NO_JUDGEMENTS}; where it holds grades, name columns.label")
        if self._one and not self._unlabelled and self._column(row, "label") is None:
            known = {self._column(row, what) for what in USUAL}
            like = [name for name in row if name not in known and _LIKE_LABELS & set(_words(name))]
            if like:
                score = f", though it {NO_JUDGEMENTS}" if set(_SCORES) & set(_words(like[0])) else ""
                raise DataError(
                    f"{where}: no column of labels is known, and {like[0]!r} may be one{score}; name it in "
                    f"columns.label or columns.clicks, or take it out for pairs without labels. It has {keys(row)}"
                )
        return {tuple(row): None}

    def _check_split_column(self, row: Row, where: str) -> None:
        """Count a column that is not read and has a split's name. Raises DataError where it holds a split as well."""
        if self._column(row, "split") is not None:
            return
        known = {self._column(row, what) for what in USUAL}
        for name, value in row.items():
            named = may_hold_splits(name)
            if name in known or not (named or is_split(value)):
                continue
            if named and is_split(value):
                raise DataError(
                    f"{where}: {name!r} holds {value!r}, and no column of splits is known; name it in columns.split, "
                    "or take it out"
                )
            shown = f"{name} (such as {str(value)[:20]!r})"
            self.counts[f"column of splits, maybe, that is not read: {shown}; columns.split names it"] = 1

    def _check_same_columns(self, first: Row, row: Row, where: str) -> None:
        """Raise DataError where only one of two rows has a label, and the other a key in its place."""
        label, other = self._column(first, "label"), self._column(row, "label")
        if (label is None) == (other is None):
            return
        lacks, has = (row, first) if other is None else (first, row)
        known = {self._column(lacks, what) for what in USUAL}
        strange = [name for name in lacks if name not in has and name not in known]
        if strange:
            raise DataError(
                f"{where}: {label or other!r} in some rows, and {strange[0]!r} in others that have none; "
                "call the label alike in every row"
            )

    def _has_clicks(self, row: Row) -> bool:
        """Whether the labels are to be made of clicks: there are some, and no column of labels."""
        label = self._column(row, "label")
        judged = label is not None and plain_name(label) != SCORE and "clicks" not in self._columns
        if judged or "label" in self._columns or self._column(row, "clicks") is None:
            return False
        score = next((name for name in row if plain_name(name) == SCORE), None)
        if "clicks" not in self._columns and score is not None:
            raise DataError(f"{self.name}: has columns of clicks and {score!r}; name columns.clicks or columns.label")
        return True

    def _by_score(self, row: Row) -> bool:
        """Whether the labels are in a column `score` that the settings do not name: BEIR's, or a run's."""
        label = self._column(row, "label")
        return label is not None and plain_name(label) == SCORE and "label" not in self._columns

    def _click_rows(self, rows: Iterator[tuple[str, Row]]) -> Iterator[ClickRow]:
        for where, row in rows:
            counts = [self._value(row, name) for name in ("clicks", "impressions", "position")]
            if self._column(row, "impressions") is not None and counts[1] is None:
                counts[1] = float("nan")  # the column is there and this row has none, which is an error
            empty = self._one and not (self._query(row, where)[0] and self._passage(row, where))
            yield ClickRow(where, *self._pair(row, where), counts[0], counts[1], counts[2], empty)

    def _pair(self, row: Row, where: str) -> tuple[str, str]:
        """The ids of a row's query and passage."""
        if self._one:
            query_id = self._id(row, "query_id", where, *self._query(row, where))
            return query_id, self._id(row, "doc_id", where, self._passage(row, where))
        return self._needed_id(row, "query_id", where), self._needed_id(row, "doc_id", where)

    def _labelled_table(self) -> Rows | None:
        return self._tables.get("pairs" if self._one else "qrels")

    def _rows(self, name: str) -> Iterator[tuple[str, Row]]:
        return self._tables["pairs" if self._one else name].rows()

    def _of_split(self, table: Rows, split: str | None) -> Iterator[tuple[str, Row]]:
        """The rows of one split: of the files, or the dataset's parts, of that name, else of a column."""
        parts = table.splits()
        named = split in parts
        if parts and split is None and len(parts) > 1:
            raise DataError(no_such_split(self.name, split, list(parts)))
        there = self.by_split
        there.clear()
        bare = misspelt = ""
        chosen = False
        for where, row in table.rows(split if named else None):
            value = self._value(row, "split")
            if is_missing(value):
                bare = bare or where
                own = None
            else:
                own = str(value).strip()
                if own not in there and split is not None and is_misspelt(own, split):
                    misspelt = misspelt or f"{where}: the split {own!r}"
                there[own] += 1
            if bare and there:
                raise DataError(f"{bare}: no split in this row, and {next(iter(there))!r} in others; name one in each")
            if own is None and parts and not named and split is not None:
                break
            if split is None or own is None or own == split:
                chosen = True
                yield where, row
        if split is None and len(there) > 1:
            raise DataError(no_such_split(self.name, split, sorted(there)))
        if not chosen and (there or parts):
            raise DataError(no_such_split(self.name, split, sorted(there) or list(parts)))
        if not there and not parts and not self._one:
            self._check_texts_have_no_split()
        if misspelt:
            raise DataError(f"{misspelt} is nearly {split!r}, which is read; write it alike, or as a name of its own")

    def _check_texts_have_no_split(self) -> None:
        """Raise DataError where queries or passages say a split, and the labels do not."""
        for name in ("queries", "corpus"):
            first = next(self._tables[name].rows(), None)
            column = self._column(first[1], "split") if first else None
            if first and column is not None and not is_missing(first[1][column]):
                raise DataError(
                    f"{first[0]}: the {name} have a column {column!r} and the qrels have none; "
                    "labels are read by that of the qrels: add it there, or rename it"
                )

    def _query(self, row: Row, where: str) -> tuple[str, str | None]:
        named = self._one or "query" in self._columns or "text" not in row
        if not named and self._column(row, "query") is not None:
            raise DataError(f"{where}: 'query' and 'text' may both be the query; name one in columns.query")
        name = None if named else "text"
        instruction = text_of(self._value(row, "instruction"), where, "instruction")
        return self._text(row, "query", where, name), instruction or None

    def _passage(self, row: Row, where: str) -> str:
        title = text_of(self._value(row, "title"), where, "title")
        return passage_text(title, self._text(row, "passage", where))

    def _text(self, row: Row, what: str, where: str, name: str | None = None) -> str:
        name = name or self._column(row, what)
        if name is None:
            hint = of_columns(row, what, self._column)
            raise DataError(
                f"{where}: no text in a column for {what}; name it in columns.{what}. It has {keys(row)}{hint}"
            )
        return text_of(row[name], where, name)

    def _id(self, row: Row, what: str, where: str, *texts: str | None) -> str:
        if self._one or what in self._columns:
            value = None if self._by_text else self._value(row, what)
        else:
            usual = self._column(row, what)
            names = [*([usual] if usual else ()), *(name for name in _ALONE if name in row)]
            name = one_column(row, names, "id", where)
            value = row[name] if name else None
        return id_of(value, where) or digest(*texts)[:16]

    def _needed_id(self, row: Row, what: str, where: str) -> str:
        key = id_of(self._value(row, what), where)
        if key is None:
            raise DataError(f"{where}: no id in a column for {what}; name it in columns.{what}. It has {keys(row)}")
        return key

    def _value(self, row: Row, what: str) -> object:
        name = self._column(row, what)
        return None if name is None else row[name]


def _words(name: str) -> list[str]:
    return plain_name(name).split("_")


class _Files:
    """A file, or a folder's files by name; its splits are those that the files' names have."""

    def __init__(self, place: Path) -> None:
        self.paths = table_files(place) if place.is_dir() else [place]
        self._parts = split_files(self.paths)

    def splits(self) -> Sequence[str]:
        return list(self._parts)

    def names(self) -> list[str]:
        return [path.name for path in self.paths]

    def rows(self, split: str | None = None) -> Iterator[tuple[str, Row]]:
        for path in self._parts.get(split or "", self.paths):
            yield from rows(path)
