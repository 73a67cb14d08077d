"""A TREC run read list by list, sorted on disk. Called by `distill rerank` and by the evaluation's first stage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from distill.disk_map import CACHE_KB
from distill.files.runs import Contradictions, run_rows, twice


def database(table: str) -> sqlite3.Connection:
    """A temporary database with this table; its file is gone when the connection is."""
    made = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for line in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", f"PRAGMA cache_size=-{CACHE_KB}", table, "BEGIN"):
        made.execute(line)
    return made


def read_scores(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """(query, {passage: score}) of a TREC run, by query. Raises DataError as `distill.files.runs.read_run`.

    The file is read once and sorted on disk, so that memory holds one list.
    """
    parts = database("CREATE TABLE parts (query BLOB, part TEXT)")
    for query, rows in groupby(run_rows(path), itemgetter(1)):
        part = json.dumps([(number, doc, rank, score) for number, _, doc, rank, score in rows])
        parts.execute("INSERT INTO parts VALUES (?, ?)", (query.encode("utf-8", "surrogatepass"), part))
    contradictions = Contradictions(path)
    by_query = groupby(parts.execute("SELECT query, part FROM parts ORDER BY query, rowid"), itemgetter(0))
    for raw, parts_of_query in by_query:
        query = raw.decode("utf-8", "surrogatepass")
        scores: dict[str, float] = {}
        ranks: list[str] = []
        for number, doc, rank, score in (row for _, part in parts_of_query for row in json.loads(part)):
            if doc in scores:
                raise twice(path, number, query, doc)
            scores[doc] = score
            ranks.append(rank)
        contradictions.look(query, ranks, scores)
        yield query, scores
    contradictions.say()
