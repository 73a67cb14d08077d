"""Judgements in BEIR's or TREC's format, read by the sources of pairs, `distill evaluate`, `calibrate` and `sweep`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from distill.errors import DataError
from distill.files.numbers import NO_JUDGEMENTS, SEVERAL, Numbers
from distill.files.runs import ENCODED, encoder
from distill.files.splits import may_hold_splits
from distill.files.text import lines
from distill.files.values import check_forms, gain_of, plain_name
from distill.tables import counted

Qrels = Mapping[str, Mapping[str, float]]  # {query: {passage: grade}}, decimal grades are gains
Grades = Mapping[str, Mapping[str, int]]
# Names of columns, as `plain_name` writes them.
_LABELS = {"score", "label", "rel", "relevance", "grade", "judgement", "judgment", "relevancy"}
_QUERIES = {"query_id", "qid", "query", "topic", "topic_id"}
_PASSAGES = {"corpus_id", "doc_id", "docid", "docno", "doc", "pid", "passage_id"}
_PLACES = {3: (0, 1, 2), 4: (0, 2, 3)}  # of query, passage and grade; TREC has an iteration after the query
_FORMS = "a line is query, passage, grade (BEIR) or query, iteration, passage, grade (TREC)"

_NAMED = "or has a header query-id, corpus-id, label above it"
_LARGEST = 100  # grade in a file of three columns without a header


def qrels_rows(path: Path, needed: str = "") -> Iterator[tuple[str, str, str, float]]:
    """(place, query, passage, grade) of each line; a grade is an int where it is whole.

    A line is split at its tabs where it has any, else at white space; a header is known by its names, and says the
    order of the columns. Raises DataError with file and line, and for what are no judgements: triples of ids, ranks
    and scores (seen after the last line), a run with a header, and pandas' index.
    """
    count, places, name, named = 0, (0, 0, 0), str(path), ""
    numbers: Numbers | None = None  # the grades, while they may be something else
    index: set[str] | None = None  # the iterations, while the first of four columns counts the lines
    row = 0
    for number, line in lines(path, needed):
        where = f"{name}:{number}"
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if not count:
            count = len(cells)
            other = _other_format(line, cells)
            if other or count not in _PLACES:
                raise DataError(f"{where}: {other or counted(count, 'column')}; {_FORMS}")
            header = _header(cells, where)
            places = header or _PLACES[count]
            split = next((cell for cell in cells if header and may_hold_splits(cell)), None)
            if split:
                raise DataError(
                    f"{where}: a column {split!r}, which is not read in this format; give each split a file of its own"
                )
            named = plain_name(cells[header[2]]) if header else ""
            if named == "score" or (not header and (count == 3 or cells[1].upper() == "Q0")):
                numbers = Numbers()
            if header:
                continue
            index = None if count == 3 else set()
        if len(cells) != count:
            raise DataError(
                f"{where}: {counted(len(cells), 'column')}, and {count} before; {_FORMS}; ids with blanks need tabs"
            )
        query_id, doc_id, grade = (cells[place] for place in places)
        if not query_id or not doc_id:
            raise DataError(f"{where}: an empty id; {_FORMS}")
        if count == 4 and cells[1] == ENCODED:
            query_id, doc_id = unquote(query_id), unquote(doc_id)
        gain = gain_of(grade, where)
        if numbers is not None:
            numbers.add(query_id, gain)
            if not named and (gain > _LARGEST or len(numbers.values) > SEVERAL):
                raise DataError(
                    f"{where}: {grade} is no grade but looks like an id (of triples?) or a score; {_FORMS}, {_NAMED}"
                )
        if index is not None:
            index.add(cells[1])
            index = index if query_id == str(row) else None
        row += 1
        yield where, query_id, doc_id, gain
    if numbers and numbers.are_no_grades and named:
        raise DataError(f"{name}: score {NO_JUDGEMENTS}; where it holds grades, call it label")
    if numbers and numbers.are_no_grades:
        raise DataError(
            f"{name}: the last column looks like ids (of triples?), not grades, or like scores; {_FORMS}, {_NAMED}"
        )
    if numbers and numbers.are_ranks and not named:
        raise DataError(f"{name}: the last column looks like ranks (1, 2, 3 ... in each query); {_FORMS}, {_NAMED}")
    if index and row > 1 and len(index) > 1:
        raise DataError(f"{name}: the first column looks like pandas' index; write index=False; {_FORMS}, {_NAMED}")


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """{query: {passage: grade}}; decimal grades are gains. Raises DataError with file and line."""
    qrels: dict[str, dict[str, float]] = {}
    for where, query_id, doc_id, grade in qrels_rows(path, "name judgements in BEIR's or TREC's format"):
        labels = qrels.setdefault(query_id, {})
        if labels.setdefault(doc_id, grade) != grade:
            raise DataError(f"{where}: the pair {query_id!r}, {doc_id!r} is judged twice; keep one line")
    if not qrels:
        raise DataError(f"{path}: is empty; it needs lines of query, passage, grade")
    check_forms(qrels, str(path))
    return qrels


def whole_grades(qrels: Qrels, name: str) -> dict[str, dict[str, int]]:
    """The same judgements as grades from 0 on. Raises DataError, naming them by `name`, for others."""
    for query_id, labels in qrels.items():
        for doc_id, grade in labels.items():
            if isinstance(grade, float):
                raise DataError(f"{name}: the label {grade} of {query_id!r}, {doc_id!r} is not an integer; scale them")
            if grade < 0:
                raise DataError(f"{name}: the label {grade} of {query_id!r}, {doc_id!r} is below 0; write 0 for it")
    return {query_id: {doc_id: int(grade) for doc_id, grade in labels.items()} for query_id, labels in qrels.items()}


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write TREC's `query 0 passage grade`, ids encoded as `write_run` does where one holds white space."""
    encode = encoder(key for query_id, labels in qrels.items() for key in (query_id, *labels))
    iteration = ENCODED if encode is not str else "0"
    with open(path, "w", encoding="utf-8") as out:
        for query_id, labels in sorted(qrels.items()):
            for doc_id, grade in sorted(labels.items()):
                out.write(f"{encode(query_id)} {iteration} {encode(doc_id)} {grade}\n")


def _other_format(line: str, cells: list[str]) -> str:
    """What the first line of a file that is no qrels looks like, and what to do; "" where it is not known."""
    if line.lstrip().startswith(("{", "[")):
        return "JSON; write its columns with tabs or blanks between them"
    if len(line.split(",")) in _PLACES and (len(cells) == 1 or all(cell.endswith(",") for cell in cells[:-1])):
        return "columns with commas between them; put tabs in their place"
    return ""


def _header(cells: list[str], where: str) -> tuple[int, int, int] | None:
    """The places of query, passage and grade, where the first line names them; None where it is a judgement."""
    names = list(map(plain_name, cells))
    if not names or (names[-1] not in _LABELS and not (_LABELS & set(names) and _QUERIES & set(names))):
        return None
    places = tuple(
        next((index for index, name in enumerate(names) if name in known), -1)
        for known in (_QUERIES, _PASSAGES, _LABELS)
    )
    if -1 in places:
        raise DataError(f"{where}: a header of {', '.join(cells)}; name the columns query-id, corpus-id and score")
    if "rank" in names and names[places[2]] == "score":
        raise DataError(
            f"{where}: a header with rank and score is a run's, not judgements; where score is a grade, call it label"
        )
    return places[0], places[1], places[2]
