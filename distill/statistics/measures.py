"""Ranking measures by ir_measures, one value a query. Called by the evaluation and by `distill sweep`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from distill.errors import ConfigError, first_line
from distill.files.qrels import Qrels
from distill.files.runs import Rankings, ranked

if TYPE_CHECKING:
    from ir_measures.measures import Measure
    from ir_measures.util import Metric

CHUNK = 1_000  # queries that are measured together
_GDEVAL = 4  # the highest grade that gdeval takes, which computes ERR and nDCG with exponential gains


def per_query(qrels: Qrels, run: Rankings, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """{measure: {query: value}} over the queries of the qrels; one that the run lacks, or has no passage of, counts 0.

    Ties are broken as trec_eval does (`ranked`), whichever code computes a measure. Grades below 0 are trec_eval's "in
    the pool, not judged": not relevant, no non-relevant passage of Bpref and infAP, and out of what is `judged_only`.
    Raises ConfigError as `parse_measures` does, and for a measure that cannot be computed on these data.
    """
    if not names:
        return {}
    measures = parse_measures(names)
    values = {str(measure): dict.fromkeys(sorted(qrels), 0.0) for measure in measures}
    grades = {grade for labels in qrels.values() for grade in labels.values()}
    queries = iter(qrels)
    while chunk := list(islice(queries, CHUNK)):
        query_of = {str(number): query for number, query in enumerate(chunk, 1)}  # gdeval, of ERR, takes only numbers
        lists = {number: run.get(query, {}) for number, query in query_of.items()}
        scored = {number: _without_ties(scores) for number, scores in lists.items() if scores}
        labels_of = {number: _readable(qrels[query]) for number, query in query_of.items()}
        for group, judged in _whole(measures, labels_of, grades):
            for metric in _calculated(group, judged, scored, grades):
                if metric.query_id in query_of:
                    values[str(metric.measure)][query_of[metric.query_id]] = float(metric.value)
    return values


def _calculated(
    group: Sequence[Measure], judged: Mapping[str, Mapping[str, int]], scored: Rankings, grades: Collection[float]
) -> Iterator[Metric]:
    """The values of a group of measures; a measure whose package fails on these data is a ConfigError that names it.

    `grades` are those of all queries.
    """
    import ir_measures

    highest = max(grades, default=0)
    for measure in group:
        if (measure.NAME == "ERR" or measure.params.get("dcg") == "exp-log2") and highest > _GDEVAL:
            raise ConfigError(
                f"{measure}: takes grades up to {_GDEVAL}, and there is {highest}; scale them, or take nDCG"
            )
    try:
        yield from ir_measures.iter_calc(group, judged, scored)
    except Exception as error:  # each package that computes measures has errors of its own
        why = f"{type(error).__name__}: {first_line(error)}"
        failed = next((measure for measure in group[:-1] if _fails(measure, judged, scored)), group[-1])
        raise ConfigError(f"{failed}: cannot be computed on these judgements and runs ({why}); leave it out") from None


def _fails(measure: Measure, judged: Mapping[str, Mapping[str, int]], scored: Rankings) -> bool:
    import ir_measures

    try:
        list(ir_measures.iter_calc([measure], judged, scored))
    except Exception:  # as in `_calculated`
        return True
    return False


def _whole(
    measures: Sequence[Measure], qrels: Qrels, grades: Collection[float]
) -> Iterator[tuple[list[Measure], dict[str, dict[str, int]]]]:
    """(measures, the judgements in whole numbers as these measures need them): trec_eval reads no others.

    nDCG's gains are the grades themselves, so that a common factor changes nothing; measures of relevance from a whole
    grade on are the same for grades rounded down. Raises ConfigError for others where a grade is decimal.
    """
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


def _readable(labels: Mapping[str, float]) -> Mapping[str, float]:
    """The labels of one query; where all are below 0, of which trec_eval's code crashes, 0s, of equal measures."""
    return labels if max(labels.values(), default=0) >= 0 else dict.fromkeys(labels, 0)


def _without_ties(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores, or, where two are equal as 32-bit floats, places in the order of `ranked`.

    ir_measures computes RR@k and Judged@k by code of its own, which orders ties by ascending id.
    """
    import numpy as np

    if len(np.unique(np.fromiter(scores.values(), np.float32, len(scores)))) == len(scores):
        return dict(scores)
    return {doc: float(-place) for place, (doc, _) in enumerate(ranked(scores))}


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """The measures by their names, each of which can be computed here.

    Raises ConfigError for a name that ir_measures does not know, a parameter that cannot be, and a measure that no
    installed package computes. Each is tried on two passages, so that nothing is found out after hours of judging.
    """
    return [_parse(name) for name in names]


def relevant_measures(names: Sequence[str], relevant_from: int) -> list[str]:
    """The measures with the grade that counts as relevant, where that is not 1: AP becomes AP(rel=2).

    Those of gains (nDCG) and those that say their own grade stay as they are.
    """
    if relevant_from == 1:
        return list(names)
    measures = parse_measures(names)
    return [
        str(measure(rel=relevant_from)) if "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params else name
        for name, measure in zip(names, measures, strict=True)
    ]


def without_grade(name: str) -> str:
    """A measure's name without the grade that counts as relevant: AP of AP(rel=2)."""
    return re.sub(r",?rel=\d+", "", name).replace("(,", "(").replace("()", "")


@cache
def _parse(name: str) -> Measure:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
    except (NameError, SyntaxError, ValueError, TypeError):
        raise ConfigError(
            f"{name!r} is not a measure that ir_measures knows; write nDCG@10, RR@10, AP, R@100"
        ) from None
    for parameter in ("cutoff", "rel"):  # below 1 trec_eval ends the whole process
        value = measure.params.get(parameter, 1)
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name!r}: {parameter} {value} cannot be; a whole number from 1")
    try:
        measure.validate_params()
        if not ir_measures.DefaultPipeline.supports(measure):
            raise ConfigError(
                f"{name!r}: no package that is installed here computes it; see ir_measur.es, or leave it out"
            )
        list(ir_measures.iter_calc([measure], {"1": {"d": 1, "e": 0}}, {"1": {"d": 2.0, "e": 1.0}}))
    except ConfigError:
        raise
    except Exception as error:  # each package that computes measures has errors of its own
        why = re.sub(r"invalid param (\w+)=<object object.*", r"it needs its parameter \1", first_line(error))
        raise ConfigError(f"{name!r} cannot be computed ({why}); write nDCG@10, RR@10, AP, R@100") from None
    return measure
