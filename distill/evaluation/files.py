"""Any runs against any judgements: `distill evaluate --qrels Q --run R ...`, without a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from distill.errors import DataError
from distill.evaluation.evaluate import check_baseline, evaluate
from distill.files.qrels import read_qrels
from distill.files.runs import Rankings, read_run
from distill.files.values import similar_id
from distill.results import EvaluationResult
from distill.statistics.measures import Qrels, parse_measures


def evaluate_files(
    qrels: Path, runs: Sequence[Path], measures: Sequence[str], seed: int = 0, baseline: str | None = None
) -> EvaluationResult:
    """What `evaluate` gives, systems named by their files; the others are compared with `baseline`, or the first run.

    Also `left_out`: {what of a run was left out, or counts 0: how many queries}.
    Raises DataError with file and line, or where a run shares no query, or no judged passage, with the judgements.
    """
    parse_measures(measures)  # before anything is read
    check_baseline(baseline, [_system(path) for path in runs])
    judged, found = read_files(qrels, runs)
    return replace(evaluate(judged, found, measures, seed, baseline), left_out=left_out(judged, found))


def left_out(qrels: Qrels, runs: Mapping[str, Rankings]) -> dict[str, int]:
    """{what: how many}: judged queries that a run lacks, and queries of a run that nobody judged."""
    counts = {}
    for name, run in runs.items():
        counts[f"judged queries without a list in {name}, counted as 0"] = sum(query not in run for query in qrels)
        counts[f"queries of {name} without judgements, left out"] = sum(query not in qrels for query in run)
    return {what: count for what, count in counts.items() if count}


def read_files(
    qrels: Path, runs: Sequence[Path]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """(judgements, runs by their files' names). Raises DataError as `evaluate_files` says."""
    judged = read_qrels(qrels)
    found = {}
    for path in runs:
        name = _system(path)
        if name in found:
            raise DataError(f"{path}: a second run named {name!r}; rename one of the files")
        found[name] = read_run(path)
        if not set(judged) & set(found[name]):
            similar = next(((key, near) for key in found[name] if (near := similar_id(key, judged))), None)
            hint = f"; do ids differ in case or form? ({similar[0]}, qrels: {similar[1]})" if similar else ""
            raise DataError(f"{path}: has none of the queries of {qrels}; these are not judgements of this run{hint}")
        _check_passages(path, judged, found[name])
    return judged, found


def _system(path: Path) -> str:
    """What a run is called: its file's name without the usual endings."""
    return path.name.removesuffix(".gz").removesuffix(".trec").removesuffix(".txt").removesuffix(".run")


def _check_passages(path: Path, judged: Qrels, run: Rankings) -> None:
    """Raise DataError where no passage of the run is judged for its query."""
    shared = [query for query in run if query in judged]
    if any(doc in judged[query] for query in shared for doc in run[query]):
        return
    first = next(
        ((doc, near) for query in shared for doc in run[query] if (near := similar_id(doc, judged[query]))),
        (next(iter(run[shared[0]])), next(iter(judged[shared[0]]))),
    )
    raise DataError(
        f"{path}: none of the run's passages is judged; do ids differ in case or form? "
        f"(first: {first[0]}, qrels: {first[1]})"
    )
