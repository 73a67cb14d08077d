"""Decontaminate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from distill.overlap import HeldOutTexts
from distill.records import Pair
from filters.base import Key, Row, Rule, Tools, need


class Decontaminate(Rule):
    """Drops pairs whose query or passage is also in an evaluation set, copied or lightly edited.

    Texts of 20 words and more are compared by 3-grams of words: a held-out one counts as copied when it shares
    `overlap` of the pieces of the shorter of the two. Shorter ones, such as queries, are compared by 4-grams of
    letters within the words that carry meaning. `sets` names the evaluation sets, all by default; the
    pipeline hands over their texts.
    Not covered: paraphrases in other words, and translations.
    """

    name: ClassVar[str] = "decontaminate"
    group: ClassVar[bool] = True
    sets: list[str] = []
    of: list[Literal["query", "passage"]] = ["query", "passage"]
    overlap: float = Field(0.5, gt=0, le=1, description="for texts of 20 words and more")
    overlap_short: float = Field(0.65, gt=0, le=1, description="for shorter texts, both ways (Jaccard)")

    def uses(self) -> tuple[str, ...]:
        return ("held_out",)

    def bind(self, tools: Tools) -> Any:
        """With the held-out texts. Raises ConfigError where a set is not known, or there are none."""
        remedy = f"needs evaluation sets to compare with; known are: {', '.join(tools.held_out) or 'none'}"
        need(tools.held_out and set(self.sets) <= set(tools.held_out), self.name, remedy)
        return _Bound(self, {name: tools.held_out[name] for name in self.sets or tools.held_out})

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """Raises ConfigError: without evaluation sets there is nothing to compare with."""
        found: Mapping[Key, str | Pair] = self.bind(Tools())(rows)
        return found


class _Bound:
    name = Decontaminate.name

    def __init__(self, rule: Decontaminate, held_out: Mapping[str, Iterable[str]]) -> None:
        self.rule = rule
        self.held_out = HeldOutTexts(held_out, rule.overlap, rule.overlap_short)

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        known: dict[tuple[str, str], str | None] = {}
        out: dict[Key, str | Pair] = {}
        for pair, trace in rows:
            for what in self.rule.of:
                asked = (what, pair.query_id if what == "query" else pair.doc_id)
                if asked not in known:
                    known[asked] = self.held_out.twin(pair.query if what == "query" else pair.passage)
                if twin := known[asked]:
                    out[trace.pair_id, trace.sample] = f"the {what} is in the evaluation set {twin}"
                    break
        return out
