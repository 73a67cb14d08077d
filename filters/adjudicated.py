"""Adjudicated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from distill.records import Pair
from filters.base import Key, Row
from filters.verdicts import says_relevant


class Adjudicated:
    """What a person decided in the trace viewer, before all filters of the list.

    `reject` puts the trace out; `relabel` gives the pair that label (`label_origin: human`) and puts out its traces
    that say the opposite, since a student would learn reasons against its own verdict; `accept` keeps the trace
    whatever the filters say (`accepted`), unless it has no verdict to learn. Of several labels the latest counts.
    Decisions about traces that are not there are left alone.
    """

    name = "adjudicated"

    def __init__(self, decided: Mapping[Key, Mapping[str, Any]]) -> None:
        self.decided = decided
        relabelled = [(str(each.get("time", "")), key[0], int(each["label"])) for key, each in decided.items()
                      if each["action"] == "relabel"]  # fmt: skip
        self.labels = {pair_id: label for _, pair_id, label in sorted(relabelled)}

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """The rejected, and the pairs with their new labels."""
        out: dict[Key, str | Pair] = {}
        for pair, trace in rows:
            key = (trace.pair_id, trace.sample)
            decision = self.decided.get(key, {})
            if pair.pair_id in self.labels:
                changed = replace(pair, label=self.labels[pair.pair_id], label_origin="human", label_before=pair.label)
                opposed = says_relevant(trace) not in (None, changed.relevant)
                out[key] = "a person gave the pair the opposite label" if opposed else changed
            if decision.get("action") == "reject":
                note = str(decision.get("note") or "")
                out[key] = f"rejected by a person: {note}" if note else "rejected by a person"
        return out


def accepted(decided: Mapping[Key, Mapping[str, Any]]) -> frozenset[Key]:
    """The traces that a person wants kept."""
    return frozenset(key for key, each in decided.items() if each["action"] == "accept")
