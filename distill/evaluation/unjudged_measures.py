"""Measures under many draws of the unjudged passages' grades; called by `distill.evaluation.unjudged`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from distill.evaluation.unjudged_model import Floats, Integers, Key
from distill.files.qrels import Grades
from distill.files.runs import Rankings, ranked
from distill.statistics.measures import per_query
from distill.statistics.ndcg import ndcg


def drawn_means(
    qrels: Grades, runs: Mapping[str, Rankings], measures: Sequence[str], keys: Sequence[Key], grades: Integers
) -> dict[str, dict[str, Floats]]:
    """{SYSTEM: {MEASURE: (draws,) means over the queries}}, where the pairs `keys` have `grades` (draws, keys).

    Queries without a pair of `keys` are measured once, by ir_measures, as are all measures but nDCG@K in every draw.
    `measures` are names as ir_measures writes them back.
    """
    columns: dict[str, dict[str, int]] = defaultdict(dict)
    for column, (query, passage) in enumerate(keys):
        columns[query][passage] = column
    touched = {query: qrels[query] for query in columns}
    untouched = {query: labels for query, labels in qrels.items() if query not in touched}
    totals = {
        system: {name: np.full(len(grades), total) for name, total in _totals(untouched, run, measures).items()}
        for system, run in runs.items()
    }
    others = [name for name in measures if _cutoff(name) is None]
    for name in measures:
        if cutoff := _cutoff(name):
            for query, labels in touched.items():
                values = _ndcg(labels, [run.get(query, {}) for run in runs.values()], columns[query], grades, cutoff)
                for system, drawn in zip(runs, values, strict=True):
                    totals[system][name] += drawn
    for draw in range(len(grades) if others and touched else 0):
        labels_drawn = {query: dict(labels) for query, labels in touched.items()}
        for (query, passage), grade in zip(keys, grades[draw].tolist(), strict=True):
            labels_drawn[query][passage] = grade
        for system, run in runs.items():
            for name, total in _totals(labels_drawn, run, others).items():
                totals[system][name][draw] += total
    return {
        system: {name: total / len(qrels) for name, total in by_measure.items()}
        for system, by_measure in totals.items()
    }


def _cutoff(name: str) -> int | None:
    """K of nDCG@K, None for every other measure."""
    match = re.fullmatch(r"nDCG@(\d+)", name)
    return int(match[1]) if match else None


def _totals(qrels: Grades, run: Rankings, measures: Sequence[str]) -> dict[str, float]:
    """{measure: sum over the queries}, 0 without any query."""
    if not qrels:
        return dict.fromkeys(measures, 0.0)
    return {name: sum(values.values()) for name, values in per_query(qrels, run, measures).items()}


def _ndcg(
    labels: Mapping[str, int],
    rankings: Sequence[Mapping[str, float]],
    columns: Mapping[str, int],
    grades: Integers,
    cutoff: int,
) -> Floats:
    """(rankings, draws) nDCG@cutoff of one query.

    `columns` says which column of `grades` (draws, ...) an unjudged passage has.
    """
    known = np.broadcast_to(list(labels.values()), (len(grades), len(labels)))
    judged = np.concatenate([grades[:, list(columns.values())], known], axis=1)
    gains = np.zeros((len(rankings), len(grades), cutoff))
    for row, scores in enumerate(rankings):
        for rank, (passage, _) in enumerate(ranked(scores)[:cutoff]):
            gains[row, :, rank] = grades[:, columns[passage]] if passage in columns else labels.get(passage, 0)
    return ndcg(gains, judged, cutoff)
