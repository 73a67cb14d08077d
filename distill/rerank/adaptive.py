"""Where mode `adaptive` should think, chosen on a development set that was judged both ways.

Once the direct and the thought answers are known, what any window would give costs nothing to compute: the cheapest is
taken among those whose nDCG@10 is not lower than thinking about everything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from distill.errors import InputError
from distill.records import Judgement
from distill.rerank.calibration import Calibration, Curve
from distill.rerank.modes import Window
from distill.statistics.ndcg import CUTOFF, ndcg

QUANTILES = 24  # of the direct margins, as candidates for the window's two bounds,
GAPS = 8  # and the middles of the widest gaps between them
TOPS = (None, 3, 5, 10, 20)
Qrels = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a window gives on the development set: mean nDCG@10, its difference to `think` with the standard error of
    that difference, and tokens a pair."""

    window: Window
    ndcg: float
    difference: float
    error: float
    tokens: float


def choose(
    direct: Iterable[Judgement],
    thought: Iterable[Judgement],
    qrels: Qrels,
    curves: tuple[Curve, Curve],
    tolerance: float = 0.0,
) -> tuple[Outcome, list[Outcome]]:
    """(the window to use, the frontier of quality against tokens). Margins must be raw, `curves` put both kinds on one
    scale (direct first).

    Of all windows whose difference to `think` is at least -`tolerance`, by the mean less one standard error where that
    can be had and by the mean else, the cheapest. Raises InputError where the two lists are not of the same pairs.
    """
    found = outcomes(direct, thought, qrels, curves, _candidates([j.margin for j in direct]))
    good = [o for o in found if o.difference - o.error >= -tolerance] or [o for o in found if o.difference >= 0]
    return min(good, key=lambda o: (o.tokens, -o.ndcg)), frontier(found)


def outcomes(
    direct: Iterable[Judgement],
    thought: Iterable[Judgement],
    qrels: Qrels,
    curves: tuple[Curve, Curve],
    windows: Sequence[Window],
) -> list[Outcome]:
    """What each window gives. Raises InputError where the two lists are not of the same pairs, or none is judged."""
    import numpy as np

    other = {(j.query_id, j.doc_id): j for j in thought}
    lists: dict[str, list[tuple[Judgement, Judgement]]] = {}
    for judgement in direct:
        pair = other.get((judgement.query_id, judgement.doc_id))
        if pair is None:
            raise InputError(f"query {judgement.query_id}, passage {judgement.doc_id}: judged directly only")
        lists.setdefault(judgement.query_id, []).append((judgement, pair))
    queries = sorted(q for q in lists if q in qrels)
    if not queries:
        raise InputError("adaptive: none of the judged queries is in the qrels of the development set")
    tried = [Window(-math.inf, math.inf), *windows]  # the first is thinking about everything
    found = [_of_query(lists[query], qrels[query], tried, curves) for query in queries]
    values, tokens = np.array([v for v, _ in found]), np.array([t for _, t in found])  # (queries, windows)
    gaps = values - values[:, :1]
    errors = gaps.std(axis=0, ddof=1) / math.sqrt(len(queries)) if len(queries) > 1 else gaps[0] * 0
    spent = tokens.sum(axis=0) / sum(len(lists[query]) for query in queries)
    means, differences = values.mean(axis=0), gaps.mean(axis=0)
    return [
        Outcome(window, float(means[at]), float(differences[at]), float(errors[at]), float(spent[at]))
        for at, window in enumerate(tried)
    ][1:]


def frontier(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes that no cheaper one equals, from the cheapest on."""
    best, kept = -math.inf, []
    for each in sorted(outcomes, key=lambda o: (o.tokens, -o.ndcg)):
        if each.ndcg > best:
            best = each.ndcg
            kept.append(each)
    return kept


def saved(calibration: Calibration) -> list[Window]:
    """The windows of the frontier that was found on the development set, and the one that was chosen."""
    windows = [
        Window(-math.inf if low is None else low, math.inf if high is None else high, top)
        for low, high, top in calibration.made_from.get("frontier", [])
    ]
    return windows + ([calibration.window] if calibration.window else [])


def _of_query(
    pairs: Sequence[tuple[Judgement, Judgement]],
    labels: Mapping[str, float],
    windows: Sequence[Window],
    curves: tuple[Curve, Curve],
) -> tuple[Any, Any]:
    """(nDCG@10, tokens) of one query under each window; as `think_about` and `ndcg` have it, for all windows."""
    import numpy as np

    pairs = sorted(pairs, key=lambda both: both[0].doc_id, reverse=True)  # how ties fall
    margins = np.array([d.margin for d, _ in pairs])
    place = np.empty(len(pairs), int)
    place[np.argsort(-margins, kind="stable")] = np.arange(len(pairs))
    low, high = (np.array([getattr(w, side) for w in windows])[:, None] for side in ("low", "high"))
    top = np.array([len(pairs) if w.top is None else w.top for w in windows])[:, None]
    thinks = (margins > low) & (margins < high) & (place < top)
    direct = np.array([curves[0].log_odds(d.margin) for d, _ in pairs])
    thought = np.array([curves[1].log_odds(t.margin) for _, t in pairs])
    order = np.argsort(-np.where(thinks, thought, direct), axis=1, kind="stable")[:, :CUTOFF]
    gains = np.array([labels.get(d.doc_id, 0) for d, _ in pairs])[order]
    values = ndcg(gains, list(labels.values()))
    tokens = sum(d.tokens for d, _ in pairs) + thinks @ np.array([t.tokens for _, t in pairs])
    return values, tokens


def _candidates(margins: Sequence[float]) -> list[Window]:
    order = sorted(margins)
    widest = sorted(pairwise(order), key=lambda gap: gap[0] - gap[1])[:GAPS]
    # The gaps first: of windows that do the same here, one that ends far from every passage will do the same elsewhere.
    bounds = [(low + high) / 2 for low, high in widest if low < high]
    bounds += [order[len(order) * at // QUANTILES] for at in range(1, QUANTILES)]
    lows, highs = [-math.inf, *bounds], [math.inf, *bounds]
    return [Window(low, high, top) for top in TOPS for low in lows for high in highs if low < high]
