"""The filter `leak`, on by default; the engine calls it for each trace."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from distill.records import Pair, Trace
from filters._leak_rules import GRAMMAR, JUDGED, LABEL, MODEL, OPEN, OTHER_SENSE, PROMPT, TOPIC
from filters.base import RowFilter

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["label", "model", "prompt"]


def _any_of(patterns: Collection[str]) -> str:
    """The patterns as one; those that begin at a word's edge are tried there only, which is five times as fast."""
    at_an_edge = [pattern.removeprefix(r"\b") for pattern in patterns if pattern.startswith(r"\b")]
    anywhere = [pattern for pattern in patterns if not pattern.startswith(r"\b")]
    return "|".join([*anywhere, rf"\b(?:{'|'.join(at_an_edge)})"])


_PATTERNS: dict[Kind, str] = {"label": _any_of(LABEL), "model": "|".join(MODEL), "prompt": "|".join(PROMPT)}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
_MIDDLE = _any_of(sorted({middle for _, middle, _ in GRAMMAR}))
_MIDDLE_COMPILED = re.compile(_MIDDLE)
_RULES = [(re.compile(middle), re.compile("".join((before, middle, after)))) for before, middle, after in GRAMMAR]


class Leak(RowFilter):
    """Drops traces that speak of a label they were shown, or of being an AI model: a student learns to cite what it
    will not have.

    Found for real in 27 of TFRank's 200 published pointwise traces ("this aligns with the reference assessment").
    Words that the query or the passage itself uses are not a leak. `prompt` (the trace speaks of its orders) is off
    by default: the student gets the same orders, and R1 repeats them in good traces.
    """

    compares: ClassVar[bool] = True
    of: list[Kind] = Field(
        ["label", "model"],
        description="what a trace may not speak of: label (that it was shown), model (being one), prompt (its orders)",
    )

    def prefilter(self, reasoning: pa.ChunkedArray) -> Sequence[bool]:
        """Whether any of the patterns is in a text, by RE2."""
        import pyarrow.compute as pc

        pattern = "|".join([*(_PATTERNS[kind] for kind in self.of), *([_MIDDLE] if "label" in self.of else [])])
        matches: list[bool] = pc.match_substring_regex(reasoning, pattern, ignore_case=True).to_pylist()
        return matches

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The words that gave it away."""
        text, about = trace.reasoning.lower(), f"{pair.query}\n{pair.passage}".lower()
        for kind in self.of:
            matches = _COMPILED[kind].finditer(text)
            for match in chain(matches, _by_grammar(text)) if kind == "label" else matches:
                if match.group() in about or OTHER_SENSE.match(text, match.end()) or _is_topic(match, about):
                    continue
                return f"speaks of the {_NAMES[kind]}: “{match.group()}”"
        return None


def _by_grammar(text: str) -> Iterator[re.Match[str]]:
    """What the rules of the grammar find, each in the sentence that its middle part is in."""
    for hit in _MIDDLE_COMPILED.finditer(text):
        first = max(text.rfind(mark, 0, hit.start()) for mark in ".!?\n") + 1
        last = min(place for mark in ".!?\n" if (place := text.find(mark, hit.end())) >= 0 or (place := len(text)))
        for middle, rule in _RULES:
            if (
                middle.search(text, first, last)
                and (match := rule.search(text, first, last))
                and not OPEN.search(text, match.start(), match.end() + 12)
            ):
                yield match


def _is_topic(match: re.Match[str], about: str) -> bool:
    """Whether the query or the passage has the words itself, as in "the label says 200 kcal" of a food's label.

    A judgement that goes with them, "the label says relevant", is of no topic, unless query or passage use that word.
    """
    topics = set(TOPIC.findall(match.group()))
    if not topics:
        return False
    clause = re.split(r"[.,;!?\n]", match.string[match.end() : match.end() + 25], maxsplit=1)[0]
    topics.update(JUDGED.findall(match.group() + clause))
    return all(re.search(rf"\b{word}", about) for word in topics)


_NAMES: dict[Kind, str] = {"label": "label", "model": "model that writes", "prompt": "prompt"}
