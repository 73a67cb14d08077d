"""Labels from clicks: how much oftener a passage is clicked than what was shown at its positions. Called by tables.

The measure is clicks over expected clicks (COEC, Zhang and Jones 2007), smoothed: with m, the mean rate of clicks at
the positions where the pair was shown (of all rows where no position is known), and s imaginary impressions,

    lift = (clicks + s m) / (impressions m + s m)

so that a pair that was shown seldom stays near 1. Not covered: clicks that depend on the results around a passage, on
what its snippet promises, or on who searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from distill.errors import DataError
from distill.files.values import gain_of, is_missing
from distill.pairs.settings import ClickSettings
from distill.pairs.sources.base import Label

ROUNDING = 1e-9  # of a lift that is exactly a threshold


class ClickRow(NamedTuple):
    """One row of a table of clicks, its three counts as they are in the file; None where there is no such column."""

    where: str
    query_id: str
    doc_id: str
    clicks: object
    impressions: object
    position: object


class _Shown:
    """How often one pair was shown and clicked, by position (None: not known)."""

    def __init__(self, where: str) -> None:
        self.where, self.clicks, self.known = where, 0, True
        self.impressions: Counter[int | None] = Counter()


def click_labels(rows: Iterable[ClickRow], settings: ClickSettings, counts: Counter[str]) -> Iterator[Label]:
    """One label a pair, its rows added up, in the rows' order; None where the clicks say too little.

    `counts` gets {why a pair is left without a label: how many}, and how many were labelled. Raises DataError naming
    the row for counts that are none: no whole number, below 0, more clicks than impressions.
    """
    pairs: dict[tuple[str, str], _Shown] = {}
    clicked: Counter[int | None] = Counter()
    shown: Counter[int | None] = Counter()
    for row in rows:
        pair = pairs.setdefault((row.query_id, row.doc_id), _Shown(row.where))
        clicks = 0 if is_missing(row.clicks) else _count(row.clicks, row.where, "clicks")
        pair.clicks += clicks
        if row.impressions is None:
            pair.known = False
            continue
        impressions = _count(row.impressions, row.where, "impressions")
        if clicks > impressions:
            raise DataError(f"{row.where}: {clicks:,} clicks in {impressions:,} impressions; count one click in each")
        position = None if is_missing(row.position) else round(gain_of(row.position, row.where))
        pair.impressions[position] += impressions
        for key in {position, None}:  # None sums up all positions
            clicked[key] += clicks
            shown[key] += impressions
    rates = {position: clicked[position] / count for position, count in shown.items() if count}
    for (query_id, doc_id), pair in pairs.items():
        grade, why = _grade(pair, rates, settings)
        counts[why] += 1
        yield pair.where, query_id, doc_id, grade


def _grade(pair: _Shown, rates: dict[int | None, float], settings: ClickSettings) -> tuple[int | None, str]:
    """(grade or None, why)."""
    if not pair.known:
        if pair.clicks >= settings.least_clicks:
            return 1, "pairs labelled by clicks alone"
        return None, f"pairs with fewer than least_clicks {settings.least_clicks} and no impressions: no label"
    impressions = sum(pair.impressions.values())
    if impressions < settings.least_impressions:
        return None, f"pairs with fewer than least_impressions {settings.least_impressions}: no label"
    expected = sum(count * rates.get(position, 0.0) for position, count in pair.impressions.items())
    smoothing = settings.smoothing * expected / impressions
    if expected <= 0:
        return None, "pairs at positions where nothing was ever clicked: no label"
    lift = (pair.clicks + smoothing) / (expected + smoothing) + ROUNDING
    if lift >= settings.relevant_from:
        high = settings.very_relevant_from is not None and lift >= settings.very_relevant_from
        return (2 if high else 1), "pairs labelled by clicks"
    if lift < settings.not_relevant_below:
        return 0, "pairs labelled by clicks"
    return None, "pairs between not_relevant_below and relevant_from: no label"


def _count(value: object, where: str, name: str) -> int:
    if is_missing(value):
        raise DataError(f"{where}: no number of {name}; take the row out")
    try:
        number = gain_of(value, where)
    except DataError:
        number = -1
    if not isinstance(number, int) or number < 0:
        raise DataError(f"{where}: {name} {value!r} is no whole number from 0 on")
    return number
