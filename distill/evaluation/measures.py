"""What rankings do not show: measures of a student's verdicts, scores and tokens. Called by the evaluate stage."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

from distill.files.qrels import Qrels
from distill.records import Judgement
from distill.statistics.reliability import BINS, bin_of

OF_ANSWERS = ("tokens_per_pair", "unfinished", "no_end", "looped", "unparsable")


def student_measures(judgements: Iterable[Judgement], qrels: Qrels, relevant_from: int = 1) -> dict[str, float]:
    """What rankings do not show: verdict accuracy and ECE over judged pairs, tokens a pair, and shares of answers.

    `unfinished` is the share whose reasoning reached its bound, `no_end` of those that ended their text before
    `</think>`, `looped` of those that repeated themselves; the verdict of all three is forced. A passage counts as
    relevant from the grade `relevant_from` on (DL19: 2).
    ECE is the expected calibration error with 10 equal-width bins of the score (Naeini et al. 2015).
    """
    totals = _by_query(judgements, qrels, relevant_from).sum(axis=0, keepdims=True)
    return {name: round(float(value[0]), 4) for name, value in _measured(totals).items()}


def student_intervals(
    judgements: Collection[Judgement], qrels: Qrels, relevant_from: int = 1, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals of `student_measures`, by drawing whole queries: pairs of one query are not independent."""
    from distill.statistics.significance import interval, resampled_means

    if not judgements:
        return {}
    drawn = resampled_means(_by_query(judgements, qrels, relevant_from), seed)
    return {name: interval(values) for name, values in _measured(drawn).items() if name != "unparsable"}


def _by_query(judgements: Iterable[Judgement], qrels: Qrels, relevant_from: int) -> Any:
    """(queries, 8 + bins) sums: pairs, the five `OF_ANSWERS`, judged pairs, right verdicts, score - label by bin."""
    import numpy as np

    sums: dict[str, Any] = {}
    for query, rows in groupby(judgements, attrgetter("query_id")):
        grades = qrels.get(query, {})
        row = sums.setdefault(query, np.zeros(8 + BINS))
        for j in rows:
            finish = j.finish_reason
            row[:6] += 1, j.tokens, finish == "length", finish == "no_end", finish == "looped", j.verdict is None
            if j.doc_id in grades:
                label = int(grades[j.doc_id] >= relevant_from)
                row[6:8] += 1, j.verdict == label
                row[8 + bin_of(j.score)] += j.score - label
    return np.stack([*sums.values()]) if sums else np.zeros((0, 8 + BINS))


def _measured(sums: Any) -> dict[str, Any]:
    """{measure: (rows,) values} of rows of sums or means as `_by_query` has them; two of them only of judged pairs."""
    import numpy as np

    pairs, judged = np.maximum(sums[:, 0], 1e-12), np.maximum(sums[:, 6], 1e-12)
    values = {name: sums[:, column] / pairs for column, name in enumerate(OF_ANSWERS, 1)}
    if sums[:, 6].any():
        values |= {"verdict_accuracy": sums[:, 7] / judged, "ECE": np.abs(sums[:, 8:]).sum(axis=1) / judged}
    return values
