"""Ranking measures by ir_measures, one value a query. Called by the evaluation and by `distill sweep`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from distill.errors import ConfigError
from distill.files.qrels import Qrels
from distill.files.runs import Rankings, ranked

if TYPE_CHECKING:
    from ir_measures.measures import Measure


def per_query(qrels: Qrels, run: Rankings, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """{measure: {query: value}} over the queries of the qrels; one that the run lacks, or has no passage of, counts 0.

    Ties are broken as trec_eval does (`ranked`), whichever code computes a measure.
    Raises ConfigError for a name that ir_measures does not know.
    """
    import ir_measures

    if not names:
        return {}
    measures = []
    for name in names:
        try:
            measures.append(ir_measures.parse_measure(name))
        except (NameError, SyntaxError, ValueError):
            raise ConfigError(
                f"{name!r} is not a measure that ir_measures knows; write nDCG@10, RR@10, AP, R@100"
            ) from None
    values = {str(measure): dict.fromkeys(sorted(qrels), 0.0) for measure in measures}
    scored = {query: _without_ties(scores) for query, scores in run.items() if query in qrels and scores}
    for group, judged in _whole(measures, qrels):
        for metric in ir_measures.iter_calc(group, judged, scored):
            if metric.query_id in qrels:
                values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def _whole(measures: Sequence[Measure], qrels: Qrels) -> Iterator[tuple[list[Measure], dict[str, dict[str, int]]]]:
    """(measures, the judgements in whole numbers as these measures need them): trec_eval reads no others.

    nDCG's gains are the grades themselves, so that a common factor changes nothing; measures of relevance from a whole
    grade on are the same for grades rounded down. Raises ConfigError for others where a grade is decimal.
    """
    grades = {grade for labels in qrels.values() for grade in labels.values()}
    digits = max((len(f"{grade:.9f}".rstrip("0").partition(".")[2]) for grade in grades), default=0)
    if not digits:
        yield list(measures), {query: {doc: int(grade) for doc, grade in by.items()} for query, by in qrels.items()}
        return
    gains = [m for m in measures if m.NAME == "nDCG" and not set(m.params) & {"dcg", "gains"}]
    binary = [m for m in measures if m not in gains and ("rel" in m.SUPPORTED_PARAMS or m.NAME == "Judged")]
    for measure in measures:
        if measure not in gains and measure not in binary:
            raise ConfigError(f"{measure}: needs whole grades, and some are decimal; take nDCG, or scale them")
    if gains:
        factor = 10**digits
        yield gains, {q: {doc: round(grade * factor) for doc, grade in by.items()} for q, by in qrels.items()}
    if binary:
        yield binary, {q: {doc: math.floor(grade) for doc, grade in by.items()} for q, by in qrels.items()}


def _without_ties(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores, or, where two are equal as 32-bit floats, places in the order of `ranked`.

    ir_measures computes RR@k and Judged@k by code of its own, which orders ties by ascending id.
    """
    import numpy as np

    if len(np.unique(np.fromiter(scores.values(), np.float32, len(scores)))) == len(scores):
        return dict(scores)
    return {doc: float(-place) for place, (doc, _) in enumerate(ranked(scores))}
