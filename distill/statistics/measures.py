"""Ranking measures by ir_measures, one value a query. Called by the evaluation and by `distill sweep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.errors import ConfigError
from distill.files.runs import Rankings, ranked

Qrels = Mapping[str, Mapping[str, int]]


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
    judged = {query: dict(labels) for query, labels in qrels.items()}
    scored = {query: _without_ties(scores) for query, scores in run.items() if query in qrels and scores}
    for metric in ir_measures.iter_calc(measures, judged, scored):
        if metric.query_id in qrels:
            values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def _without_ties(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores, or, where two are equal as 32-bit floats, places in the order of `ranked`.

    ir_measures computes RR@k and Judged@k by code of its own, which orders ties by ascending id.
    """
    import numpy as np

    if len(np.unique(np.fromiter(scores.values(), np.float32, len(scores)))) == len(scores):
        return dict(scores)
    return {doc: float(-place) for place, (doc, _) in enumerate(ranked(scores))}
