"""Ranking measures by ir_measures, one value a query. Called by the evaluation and by `distill sweep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.errors import ConfigError
from distill.files.runs import Rankings

Qrels = Mapping[str, Mapping[str, int]]


def per_query(qrels: Qrels, run: Rankings, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """{measure: {query: value}} over the queries of the qrels; a query that the run lacks counts as 0.

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
    found = {str(measure): dict.fromkeys(sorted(qrels), 0.0) for measure in measures}
    judged = {query: dict(labels) for query, labels in qrels.items()}
    scored = {query: dict(run[query]) for query in run if query in qrels}
    for metric in ir_measures.iter_calc(measures, judged, scored):
        if metric.query_id in qrels:
            found[str(metric.measure)][metric.query_id] = float(metric.value)
    return found
