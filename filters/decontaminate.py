"""The filter `decontaminate`; the engine calls it once for all traces that are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from distill.overlap import HeldOutTexts
from distill.records import Pair
from filters.base import Filter, GroupFilter, Key, Row, ToolName, Tools, need


class Decontaminate(GroupFilter):
    """Drops pairs whose query or passage is also in an evaluation set, copied or lightly edited.

    Texts of 20 words and more are compared by 3-grams of words: a held-out one counts as copied when it shares
    `overlap` of the pieces of the shorter of the two. Shorter ones, such as queries, are compared by 4-grams of
    letters within the words that carry meaning. `sets` names the evaluation sets, all by default; the
    pipeline hands over their texts.
    Not covered: paraphrases in other words, and translations.
    """

    sets: list[str] = Field([], description="names of the evaluation sets that are looked through; default: all")
    of: list[Literal["query", "passage"]] = Field(
        ["query", "passage"], description="which texts of a pair are looked for"
    )
    overlap: float = Field(0.5, gt=0, le=1, description="for texts of 20 words and more")
    overlap_short: float = Field(0.65, gt=0, le=1, description="for shorter texts, both ways (Jaccard)")
    _held_out: HeldOutTexts | None = None

    def uses(self) -> tuple[ToolName, ...]:
        return ("held_out",)

    def prepare(self, tools: Tools) -> Filter:
        """With the held-out texts. Raises ConfigError where a set is not known, or there are none."""
        remedy = f"needs evaluation sets to compare with; known are: {', '.join(tools.held_out) or 'none'}"
        need(tools.held_out and set(self.sets) <= set(tools.held_out), self.name, remedy)
        texts = {name: tools.held_out[name] for name in self.sets or tools.held_out}
        self._held_out = HeldOutTexts(texts, self.overlap, self.overlap_short)
        return self

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """The evaluation set that a trace's query or passage is in."""
        held_out = need(self._held_out, self.name, "was not prepared")
        sets: dict[tuple[str, str], str | None] = {}  # by ("query" or "passage", its id)
        rejected: dict[Key, str | Pair] = {}
        for pair, trace in rows:
            for part in self.of:
                text_id = (part, pair.query_id if part == "query" else pair.doc_id)
                if text_id not in sets:
                    sets[text_id] = held_out.twin(pair.query if part == "query" else pair.passage)
                if evaluation_set := sets[text_id]:
                    rejected[trace.pair_id, trace.sample] = f"the {part} is in the evaluation set {evaluation_set}"
                    break
        return rejected
