"""Labels from clicks: how much oftener a passage is clicked than others at its positions. Called by source `table`.

The measure is clicks over expected clicks (COEC, Zhang and Jones 2007), smoothed: with m, the mean rate of clicks at
the positions where the pair was shown (of all rows where no position is known), and s imaginary impressions,

    lift = (clicks + s m) / (impressions m + s m)

so that a pair that was shown seldom stays near 1. A lift above the threshold for relevant passages counts only where
chance alone would seldom give so many clicks: 3 where 1.8 are expected say little. The rate at a position is that of
the other pairs; the pair itself counts in it at most as much as they do together, so that it is never compared with
itself alone. Impressions at an average position, such as 1.4, lie at the two whole ones around it, by shares (0.6 at 1,
0.4 at 2). Not covered: clicks that depend on the results around a passage, on what its snippet promises, or on who
searched.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from distill.errors import DataError
from distill.files.values import gain_of, is_missing
from distill.pairs.settings import ClickSettings
from distill.pairs.sources.base import Label
from distill.tables import counted

_THOUSANDS = re.compile(r"\d{1,3}(\.\d{3})+")  # 1.000 is a thousand in much of Europe
ROUNDING = 1e-9  # of a lift that is exactly a threshold


class ClickRow(NamedTuple):
    """One row of a table of clicks, its three counts as they are in the file; None where there is no such column."""

    where: str
    query_id: str
    doc_id: str
    clicks: object
    impressions: object
    position: object
    empty: bool = False  # no text of a query or passage: counts nowhere


class _Shown:
    """How often one pair was shown and clicked, by position (None: not known); a row is one impression if unknown."""

    def __init__(self, where: str) -> None:
        self.where, self.rows, self.known = where, 0, True
        self.clicks: defaultdict[int | None, float] = defaultdict(float)
        self.impressions: defaultdict[int | None, float] = defaultdict(float)


class _Rates:
    """Clicks and impressions of all pairs by position; None: of all positions."""

    def __init__(self, pairs: Iterable[_Shown]) -> None:
        self.clicks: defaultdict[int | None, float] = defaultdict(float)
        self.impressions: defaultdict[int | None, float] = defaultdict(float)
        for pair in pairs:
            for total, own in ((self.clicks, pair.clicks), (self.impressions, pair.impressions)):
                for position, count in own.items():
                    for key in {position, None}:
                        total[key] += count

    def rate(self, pair: _Shown, position: int | None, least: int) -> float | None:
        """The rate that the pair is compared with there; None where others were shown less than it and than `least`."""
        impressions, clicks = pair.impressions[position], pair.clicks[position]
        if position is None:
            impressions, clicks = _sum(pair.impressions), _sum(pair.clicks)
        others = self.impressions[position] - impressions
        if others + ROUNDING < min(impressions, least):
            return None
        weight = min(impressions, others)
        return (self.clicks[position] - clicks + weight * clicks / impressions) / (others + weight)


def click_labels(rows: Iterable[ClickRow], settings: ClickSettings, counts: Counter[str]) -> Iterator[Label]:
    """One label a pair, its rows added up, in the rows' order; None where the clicks say too little.

    Without impressions each row is one where the clicks are 0 and 1 and pairs come again. `counts` gets {why a pair is
    left without a label: how many}, and how many were labelled. Raises DataError naming the row for counts that are
    none: no whole number, below 0, more clicks than impressions; for a position below 0 or that is no number.
    """
    pairs: dict[tuple[str, str], _Shown] = {}
    values: Counter[int] = Counter()  # of clicks, in rows without impressions
    with_impressions = 0
    for row in rows:
        pair = pairs.setdefault((row.query_id, row.doc_id), _Shown(row.where))
        if row.empty:
            continue
        clicks = 0 if is_missing(row.clicks) else _count(row.clicks, row.where, "clicks")
        pair.rows += 1
        if row.impressions is None:
            pair.known = False
            impressions = 1
            values[min(clicks, 2)] += 1
        else:
            with_impressions += 1
            impressions = _count(row.impressions, row.where, "impressions")
            if clicks > impressions:
                raise DataError(
                    f"{row.where}: {counted(clicks, 'click')} in {counted(impressions, 'impression')}; count one click "
                    "in each"
                )
        for position, share in _positions(row.position, row.where):
            pair.impressions[position] += impressions * share
            pair.clicks[position] += clicks * share
    filled = sum(pair.rows > 0 for pair in pairs.values())
    if not with_impressions and set(values) == {0, 1} and values.total() > filled:
        counts["rows taken as one impression each: clicks are 0 or 1, and no column is named impressions"] = (
            values.total()
        )
        for pair in pairs.values():
            pair.known = True
    rates = _Rates(pair for pair in pairs.values() if pair.known)
    for (query_id, doc_id), pair in pairs.items():
        grade, why = _grade(pair, rates, settings)
        counts[why] += 1
        yield pair.where, query_id, doc_id, grade


def _grade(pair: _Shown, rates: _Rates, settings: ClickSettings) -> tuple[int | None, str]:
    """(grade or None, why)."""
    least, all_clicks = settings.least_clicks, _sum(pair.clicks)
    if not pair.rows:
        return None, "pairs with an empty query or passage: no label"
    if not pair.known:
        if all_clicks >= least:
            return 1, "pairs labelled by clicks alone"
        return None, f"pairs with fewer than least_clicks {least} and no impressions: no label"
    impressions = _sum(pair.impressions)
    if impressions + ROUNDING < settings.least_impressions:
        return None, f"pairs with fewer than least_impressions {settings.least_impressions}: no label"
    compared = clicks = expected = 0.0
    for position, count in pair.impressions.items():
        rate = rates.rate(pair, position, settings.least_impressions) if count else None
        if rate is not None:
            compared += count
            clicks += pair.clicks[position]
            expected += count * rate
    if compared < impressions / 2:
        return None, "pairs at positions where too little else was shown to compare with: no label"
    if expected <= 0:
        return None, "pairs at positions where nothing was ever clicked: no label"
    smoothing = settings.smoothing * expected / compared
    lift = (clicks + smoothing) / (expected + smoothing) + ROUNDING
    if lift >= settings.relevant_from:
        if all_clicks + ROUNDING < least:
            return None, f"pairs above relevant_from with fewer than least_clicks {least}: no label"
        if settings.confidence and _fewer(clicks, compared, expected * settings.relevant_from) < settings.confidence:
            return None, "pairs above relevant_from that may be so by chance (clicks.confidence): no label"
        high = settings.very_relevant_from is not None and lift >= settings.very_relevant_from
        return (2 if high else 1), "pairs labelled by clicks"
    if lift < settings.not_relevant_below:
        if expected + ROUNDING < least:
            return None, f"pairs below not_relevant_below with fewer than least_clicks {least} expected: no label"
        return 0, "pairs labelled by clicks"
    return None, "pairs between not_relevant_below and relevant_from: no label"


def _fewer(clicks: float, impressions: float, expected: float) -> float:
    """The chance of fewer clicks than these where so many are expected (binomial, continued to broken counts)."""
    from scipy.special import betaincc

    return float(betaincc(clicks, impressions - clicks + 1, min(1.0, expected / impressions)))


def _positions(value: object, where: str) -> list[tuple[int | None, float]]:
    """(whole position, share) of one position: an average one lies at the two around it. None: not known."""
    if is_missing(value):
        return [(None, 1)]
    try:
        position = gain_of(value, where)
    except DataError:
        position = -1
    if position < 0:
        raise DataError(f"{where}: position {value!r} is no number from 0 on; leave it empty where it is not known")
    below = math.floor(position)
    above = position - below
    return [(below, 1 - above), (below + 1, above)] if above else [(below, 1)]


def _sum(counts: dict[int | None, float]) -> float:
    return sum(counts.values())


def _count(value: object, where: str, name: str) -> int:
    if is_missing(value):
        raise DataError(f"{where}: no number of {name}; take the row out")
    if isinstance(value, str) and _THOUSANDS.fullmatch(value.strip()):
        raise DataError(f"{where}: {name} {value!r} may be thousands; write numbers without a mark between them")
    try:
        number = gain_of(value, where)
    except DataError:
        number = -1
    if not isinstance(number, int) or number < 0:
        raise DataError(f"{where}: {name} {value!r} is no whole number from 0 on")
    return number
