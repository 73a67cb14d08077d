"""The filter `leak`, on by default; the engine calls it for each trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from distill.records import Pair, Trace
from filters.base import RowFilter

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["label", "model", "prompt"]

_LABEL = r"""
  ground[ -]truth | gold(?:en)?[ -](?:label|answer|judge?ment|annotation)s?
| (?:the|this|its|given|correct|provided|assigned|true|expected|reference|human|actual)
    \ (?:relevance\ )?label(?!\s+(?:on|of|for)\b)
| (?:is|was|been|are)\ (?:already\ )?(?:labell?ed|annotated)\ (?:as|by|with)
| (?:according\ to|as\ per|in|from|per)\ the\ (?:dataset|annotation|annotator|label|gold|qrel)s?
| the\ (?:dataset|annotation|annotator|qrel)s?
    \ (?:say|state|mark|label|claim|indicate|consider|judge|give|list|ha[sd]|call|rate|tell|confirm)
| (?:the|by)\ (?:human\ )?annotators?\b | \bqrels?\b
| \breference\ (?:answer|assessment|judge?ment|label|verdict|evaluation|determination|rating)s?\b
| (?:the|given|provided)\ reference\ (?:score|standard|relevance)
| expected\ (?:answer|verdict|judge?ment)\ (?:is|was|here|should|must|says?)
| (?:i\ was|i\ am|i'm|we\ are|i've\ been)\ told\ (?:that\ )?(?:the\ (?:answer|label|verdict|correct)
    |it\ is\ (?:not\ )?relevant)
"""
_MODEL = r"""
  (?:as|i\ am|i'm|being)\ (?:just\ |only\ )?an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model)
    \b(?!\s+(?:company|researcher|engineer|tool|system|startup|expert))
| my\ training\ (?:data|set|cut-?off) | \bi\ was\ trained\b
| (?:developed|created|made|trained)\ by\ (?:openai|deepseek)
"""
_PROMPT = r"""
  (?:the|this|my|your)\ (?:system\ )?prompt\ (?:say|state|ask|tell|want|instruct|require|specifie|doesn|does|is\b)\w*
| system\ (?:prompt|message|instruction)s? | (?:output|response|answer|required)\ format
| (?:instructed|prompted|told|asked)\ (?:me\ )?to\ (?:answer|respond|output|reply|say|write|return|only)\b
| answer\ only\ with | with\ (?:only\ )?['"“]?true['"”]?\ or\ ['"“]?false
"""
# Each with words of which one must stand in the text: to look for a word takes 0.7 µs, for the pattern 20.
_PATTERNS: dict[Kind, tuple[re.Pattern[str], tuple[str, ...]]] = {
    "label": (
        re.compile(_LABEL, re.VERBOSE),
        ("label", "truth", "gold", "annot", "dataset", "qrel", "reference ", "expected ", " told "),
    ),
    "model": (
        re.compile(_MODEL, re.VERBOSE),
        ("an ai", "artificial", "language model", "my training", "i was trained", "openai", "deepseek"),
    ),
    "prompt": (
        re.compile(_PROMPT, re.VERBOSE),
        ("prompt", "format", "system ", "ed to ", "told ", "only with", " or "),
    ),
}


class Leak(RowFilter):
    """Drops traces that speak of a label they were shown, or of being an AI model: a student learns to cite what it
    will not have.

    Found for real in 27 of TFRank's 200 published pointwise traces ("this aligns with the reference assessment").
    Words that the query or the passage itself uses are not a leak. `prompt` (the trace speaks of its orders) is off
    by default: the student gets the same orders, and R1 repeats them in good traces.
    """

    of: list[Kind] = ["label", "model"]

    def prefilter(self, reasoning: pa.ChunkedArray) -> list[bool]:
        """For each text of an Arrow column, whether any of the words stands in it: 1.8 µs a trace, in Python 12."""
        import pyarrow.compute as pc

        words = "|".join(word for kind in self.of for word in _PATTERNS[kind][1])
        return list(pc.match_substring_regex(reasoning, words, ignore_case=True).to_pylist())

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The words that gave it away."""
        text = trace.reasoning.lower()
        for kind in self.of:
            pattern, words = _PATTERNS[kind]
            if not any(word in text for word in words):
                continue
            for found in pattern.finditer(text):
                said = found.group()
                if said not in pair.passage.lower() and said not in pair.query.lower():
                    return f"speaks of the {_NAMES[kind]}: “{said}”"
        return None


_NAMES: dict[Kind, str] = {"label": "label", "model": "model that writes", "prompt": "prompt"}
