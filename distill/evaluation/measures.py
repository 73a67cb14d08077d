"""What rankings do not show: measures of a student's verdicts, scores and tokens. Called by the evaluate stage."""

from __future__ import annotations

from collections.abc import Sequence

from distill.files.qrels import Qrels
from distill.records import Judgement
from distill.statistics.reliability import BINS, bin_of, quality


def student_measures(judgements: Sequence[Judgement], qrels: Qrels, relevant_from: int = 1) -> dict[str, float]:
    """What rankings do not show: verdict accuracy and ECE over judged pairs, tokens a pair, and shares of answers.

    `unfinished` is the share whose reasoning reached its bound, `no_end` of those that ended their text before
    `</think>`; the verdict of both is forced. A passage counts as relevant from the grade `relevant_from` on (DL19: 2).
    ECE is the expected calibration error with 10 equal-width bins of the score (Naeini et al. 2015).
    """
    known = [(j, int(qrels.get(j.query_id, {}).get(j.doc_id, -1) >= relevant_from)) for j in judgements
             if j.doc_id in qrels.get(j.query_id, {})]  # fmt: skip
    found = {
        "tokens_per_pair": sum(j.tokens for j in judgements) / max(1, len(judgements)),
        "unfinished": sum(j.finish_reason == "length" for j in judgements) / max(1, len(judgements)),
        "no_end": sum(j.finish_reason == "no_end" for j in judgements) / max(1, len(judgements)),
        "unparsable": sum(j.verdict is None for j in judgements) / max(1, len(judgements)),
    }
    if known:
        found["verdict_accuracy"] = sum(j.verdict == label for j, label in known) / len(known)
        found["ECE"] = quality([judgement.score for judgement, _ in known], [label for _, label in known])["ECE"]
    return {name: round(value, 4) for name, value in found.items()}


def student_intervals(
    judgements: Sequence[Judgement], qrels: Qrels, relevant_from: int = 1, seed: int = 0
) -> dict[str, list[float]]:
    """95 % intervals of `student_measures`, by drawing whole queries: pairs of one query are not independent."""
    import numpy as np

    from distill.statistics.significance import interval, resampled_means

    place = {query: at for at, query in enumerate(dict.fromkeys(j.query_id for j in judgements))}
    if not place:
        return {}
    pairs, tokens, unfinished, no_end, known, right = np.zeros((6, len(place)))
    gaps = np.zeros((len(place), BINS))
    for j in judgements:
        at = place[j.query_id]
        pairs[at] += 1
        tokens[at] += j.tokens
        unfinished[at] += j.finish_reason == "length"
        no_end[at] += j.finish_reason == "no_end"
        if j.doc_id in qrels.get(j.query_id, {}):
            label = int(qrels[j.query_id][j.doc_id] >= relevant_from)
            known[at] += 1
            right[at] += j.verdict == label
            gaps[at, bin_of(j.score)] += j.score - label
    drawn = resampled_means(np.column_stack([pairs, tokens, unfinished, no_end, known, right, gaps]), seed).T
    found = {name: drawn[at] / drawn[0] for at, name in enumerate(("tokens_per_pair", "unfinished", "no_end"), 1)}
    if known.any():
        judged = np.maximum(drawn[4], 1e-12)
        found |= {"verdict_accuracy": drawn[5] / judged, "ECE": np.abs(drawn[6:]).sum(axis=0) / judged}
    return {name: interval(means) for name, means in found.items()}
