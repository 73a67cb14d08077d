"""Any runs against any judgements: `distill evaluate --qrels Q --run R ...`, without a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.evaluation.evaluate import evaluate
from distill.files.runs import read_run
from distill.files.text import lines

COLUMNS = {3: (0, 1, 2), 4: (0, 2, 3)}  # BEIR: query, passage, grade; TREC has an iteration after the query


def evaluate_files(
    qrels: Path, runs: Sequence[Path], measures: Sequence[str], seed: int = 0, baseline: str | None = None
) -> dict[str, Any]:
    """What `evaluate` gives, systems named by their files; the others are compared with `baseline`, or the first run.

    Raises DataError with file and line, or where a run shares no query with the judgements.
    """
    judged, found = read_files(qrels, runs)
    return evaluate(judged, found, measures, seed, baseline)


def read_files(
    qrels: Path, runs: Sequence[Path]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, dict[str, float]]]]:
    """(judgements, runs by their files' names). Raises DataError as `evaluate_files` says."""
    judged = read_qrels(qrels)
    found = {}
    for path in runs:
        name = path.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".txt").removesuffix(".run")
        if name in found:
            raise DataError(f"{path}: a second run named {name!r}; rename one of the files")
        found[name] = read_run(path)
        if not set(judged) & set(found[name]):
            raise DataError(f"{path}: has none of the queries of {qrels}; these are not judgements of this run")
    return judged, found


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
