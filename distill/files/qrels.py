"""Judgements from a file in BEIR's or TREC's format, for `distill evaluate`, `calibrate` and `sweep`."""

from __future__ import annotations

from pathlib import Path

from distill.errors import DataError
from distill.files.text import lines

COLUMNS = {3: (0, 1, 2), 4: (0, 2, 3)}  # BEIR: query, passage, grade; TREC has an iteration after the query


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """{query: {passage: grade}} of a BEIR or TREC file, gzipped or not; grades below 0 are 0. Raises DataError."""
    found: dict[str, dict[str, int]] = {}
    for number, line in lines(path, "name judgements in BEIR's or TREC's format"):
        values = line.split()
        if number == 1 and values[-1] in ("score", "label", "rel"):
            continue
        if len(values) not in COLUMNS:
            raise DataError(f"{path}:{number}: {len(values)} columns; judgements have 3 (BEIR) or 4 (TREC)")
        query_id, doc_id, grade = (values[at] for at in COLUMNS[len(values)])
        if doc_id in found.setdefault(query_id, {}):
            raise DataError(f"{path}:{number}: the pair {query_id!r}, {doc_id!r} is judged twice; keep one line")
        try:
            found[query_id][doc_id] = max(0, int(grade))
        except ValueError:
            raise DataError(f"{path}:{number}: the label {grade!r} is not an integer") from None
    if not found:
        raise DataError(f"{path}: is empty; it needs lines of query, passage, grade")
    return found
