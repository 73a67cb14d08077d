"""Decontaminate."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from distill.records import Pair
from filters.base import Key, Row, Rule, Tools, need

LONG = 20  # words; longer texts are compared by 3-grams of words, shorter ones by 4-grams of letters within words
COMMON = 200  # pieces that more held-out texts share say nothing about one of them
_WORD = re.compile(r"\w+")
_EMPTY = frozenset(  # words without a meaning of their own
    {"a", "an", "the", "of", "in", "on", "at", "to", "for", "and", "or", "is", "are", "was", "were", "be", "do", "does"}
    | {"did", "what", "which", "who", "how", "when", "where", "why", "with", "by", "from", "it", "this", "that", "as"}
    | {"can", "i", "my", "me", "you", "your", "there", "their", "its", "not", "no"}
)


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
        self.texts: list[tuple[str, str, int]] = []  # set, beginning, how many pieces
        self.found_in: defaultdict[int, list[int]] = defaultdict(list)
        for name, texts in held_out.items():
            for text in dict.fromkeys(texts):
                pieces = _pieces(text)
                for piece in pieces:
                    if len(self.found_in[piece]) <= COMMON:
                        self.found_in[piece].append(len(self.texts))
                self.texts.append((name, text[:60], len(pieces)))

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        known: dict[tuple[str, str], str | None] = {}
        out: dict[Key, str | Pair] = {}
        for pair, trace in rows:
            for what in self.rule.of:
                asked = (what, pair.query_id if what == "query" else pair.doc_id)
                if asked not in known:
                    known[asked] = self.twin(pair.query if what == "query" else pair.passage)
                if twin := known[asked]:
                    out[trace.pair_id, trace.sample] = f"the {what} is in the evaluation set {twin}"
                    break
        return out

    def twin(self, text: str) -> str | None:
        """The evaluation set, and the beginning of the held-out text that this one copies."""
        pieces = _pieces(text)
        shared: Counter[int] = Counter()
        for piece in pieces:
            places = self.found_in.get(piece, ())
            if len(places) <= COMMON:
                shared.update(places)
        long = len(_WORD.findall(text)) >= LONG
        for at, count in shared.most_common(3):
            name, beginning, size = self.texts[at]
            both = len(pieces) + size - count
            if count >= (self.rule.overlap * min(len(pieces), size) if long else self.rule.overlap_short * both):
                return f"{name!r}: “{beginning}”"
        return None


def _pieces(text: str) -> set[int]:
    words = _WORD.findall(text.lower())
    if len(words) >= LONG:
        return {hash(gram) for gram in zip(words, words[1:], words[2:], strict=False)}
    said = [word for word in words if word not in _EMPTY] or words
    return {hash(f" {word} "[i : i + 4]) for word in said for i in range(max(1, len(word) - 1))}
