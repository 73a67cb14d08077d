"""A BEIR folder as a collection, and qrels files by themselves."""

from __future__ import annotations

from pathlib import Path

from distill.errors import DataError
from distill.pairs.collection import Collection, gather
from distill.pairs.passages import Passages
from distill.pairs.sources.beir import Beir, qrels_lines
from distill.pairs.split import parted


def read_beir(
    folder: Path, split: str, shares: dict[str, float] | None = None, seed: int = 0, qrels_name: str | None = None
) -> Collection:
    """The collection of one split; with `shares`, the split's part, by query, of the only qrels file or `qrels_name`.

    Raises DataError with file and line for whatever cannot be read as it is.
    """
    data = gather(Beir(folder), qrels_name if shares else split)
    return parted(data, shares, seed, split) if shares else data


def read_texts(folder: Path) -> Collection:
    """The texts of a BEIR folder, corpus.jsonl and queries.jsonl; judgements, if it has any, are not read.

    Raises DataError with file and line.
    """
    source = Beir(folder)
    queries: dict[str, str] = {}
    instructions: dict[str, str] = {}
    for where, query_id, text, instruction in source.queries():
        if query_id in queries:
            raise DataError(f"{where}: the id {query_id!r} stands twice; ids must be unique")
        queries[query_id] = text
        if instruction:
            instructions[query_id] = instruction
    return Collection(Passages(source.passages(), source.repeats), queries, {}, instructions)


def read_qrels(path: Path) -> tuple[dict[str, dict[str, int]], int]:
    """({query: {doc: grade}}, how many grades were negative and became 0) of a BEIR or TREC qrels file."""
    found: dict[str, dict[str, int]] = {}
    negative = 0
    for where, query_id, doc_id, grade in qrels_lines(path):
        if doc_id in found.setdefault(query_id, {}):
            raise DataError(f"{where}: the pair {query_id!r}, {doc_id!r} is judged twice; keep one line")
        found[query_id][doc_id] = max(0, grade or 0)
        negative += (grade or 0) < 0
    if not found:
        raise DataError(f"{path}: is empty; it needs lines of query-id, corpus-id, score")
    return found, negative
