"""The filter of a person's decisions; the engine puts it before all filters of the list where there are decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from distill.records import Pair
from filters.base import Decision, Filter, GroupFilter, Key, Row, Tools, says_relevant


class Adjudicated(GroupFilter):
    """What a person decided in the trace viewer, before all filters of the list.

    `reject` rejects the trace; `relabel` gives the pair that label (`label_origin: human`) and rejects its traces that
    say the opposite, since a student would learn reasons against its own verdict; `accept` keeps the trace whatever
    the filters say (`accepted`), unless it has no verdict to learn. Of several labels the latest counts. Decisions
    about traces that are not there are left alone.
    """

    name: ClassVar[str] = "adjudicated"
    _decided: Mapping[Key, Decision] = {}
    _labels: Mapping[str, int] = {}

    def prepare(self, tools: Tools) -> Filter:
        """With the decisions, of which the latest label of a pair counts."""
        relabelled = sorted(
            (str(decision.get("time", "")), pair_id, int(str(decision["label"])))
            for (pair_id, _), decision in tools.decided.items()
            if decision["action"] == "relabel"
        )
        self._decided = tools.decided
        self._labels = {pair_id: label for _, pair_id, label in relabelled}
        return self

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """The rejected, and the pairs with their new labels."""
        outcomes: dict[Key, str | Pair] = {}
        for pair, trace in rows:
            key = (trace.pair_id, trace.sample)
            decision = self._decided.get(key, {})
            if pair.pair_id in self._labels:
                changed = replace(pair, label=self._labels[pair.pair_id], label_origin="human", label_before=pair.label)
                opposed = says_relevant(trace) not in (None, changed.relevant)
                outcomes[key] = "a person gave the pair the opposite label" if opposed else changed
            if decision.get("action") == "reject":
                note = str(decision.get("note") or "")
                outcomes[key] = f"rejected by a person: {note}" if note else "rejected by a person"
        return outcomes


def accepted(decided: Mapping[Key, Decision]) -> frozenset[Key]:
    """The traces that a person wants kept."""
    return frozenset(key for key, decision in decided.items() if decision["action"] == "accept")
