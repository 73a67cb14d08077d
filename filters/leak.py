"""The filter `leak`, on by default; the engine calls it for each trace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from distill.records import Pair, Trace
from filters.base import RowFilter

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["label", "model", "prompt"]

# Patterns of lower-case text without look-around, so that Arrow's RE2 runs them over a whole column.
_JUDGEMENT = "(?:labels?|annotations?|judge?ments?|verdicts?|ratings?|grades?|assessments?|classifications?|decisions?)"
_SOURCE = (
    "(?:dataset|annotations?|annotators?|qrels?|labels?|gold(?:en)?|answer key|metadata|assessors?|raters?|labell?ers?"
    "|reference|ground[ -]truth|answer sheet|relevance judge?ments?|benchmark)"
)
_RELEVANT = "(?:not |non-?|ir|highly |partially )?(?:relevant|true|false|positive|negative|a match|a hit)"
_SAYS = (
    "(?:say|state|mark|label|claim|indicate|consider|judge|give|list|call|rate|tell|confirm|show|treat|count|regard|deem"
    "|record|specifie|specify|want|expect|require|classifie|classify|ha[sd]|read)"
)
_LABEL = (
    # what the judgement is written in
    "ground[ -]truth", "gold(?:en)?[ -](?:label|answer|judge?ment|annotation|verdict|rating|key|reference)s?",
    r"(?:answer|solution|marking) (?:key|sheet|scheme)s?\b", r"\bqrels?\b", r"\bhard negative\b",
    "reference (?:answer|assessment|judge?ment|label|verdict|evaluation|determination|rating|classification)s?",
    "(?:given|provided) reference (?:score|standard|relevance)", r"\bthe hint\b",
    r"(?:labell?ed|annotated|gold|mined) (?:positive|negative)s?\b",
    # a judgement that was there before
    r"\b(?:the|this|its|that|each|a|an|my|our) (?:given|provided|supplied|assigned|attached|known|official|true|actual"
    rf"|human|expected|intended|target|desired|reference|pre-?assigned|predetermined|preset|stored|annotated) "
    rf"(?:relevance )?{_JUDGEMENT}\b",
    r"\b(?:the|this|its|given|correct|provided|assigned|true|expected|reference|human|actual) (?:relevance )?label\b",
    rf"\b(?:the|this|that) (?:relevance )?{_JUDGEMENT} (?:that (?:was|is|were|i was|i am|we were) |i was |we were )?"
    r"(?:provided|supplied|given|attached|assigned|shown|on file|on record|says?|states?|reads?)\b",
    r"\b(?:expected|intended|target|desired|official|known|predetermined|preset) (?:answer|verdict|judge?ment|outcome"
    r"|conclusion)\b(?: here)? (?:is|was|here|should|must|says?|to be|for this)\b",
    r"\b(?:answer|verdict|judge?ment)(?: here)? (?:is|was|has been) (?:already )?(?:given|known|provided|supplied"
    r"|supposed|meant|told|predetermined|preset) (?:as|to be|in advance|beforehand|to me)\b",
    r"\bfor this (?:example|pair|instance|item|sample|entry|row),? (?:the |its )?(?:label|annotation|judge?ment|verdict"
    r"|answer|relevance) (?:is|was|says)\b",
    # somebody judged
    r"\b(?:is|was|been|are|were|being)(?: already| indeed| clearly)? (?:labell?ed|annotated) (?:as|by|with)\b",
    rf"\b(?:is|was|been|are|were|being)(?: already| indeed)? (?:labell?ed|annotated|marked|tagged|flagged|recorded"
    rf"|listed) (?:as |to be )?(?:being )?(?:a |an )?{_RELEVANT}\b",
    rf"\b(?:was|has been|have been|had been|were) (?:judged|rated|graded|assessed|scored|deemed|classified|determined"
    rf"|confirmed) (?:as |to be )?{_RELEVANT}\b",
    r"\balready (?:been )?(?:judged|deemed|determined|decided|established|confirmed|known) "
    rf"(?:as |to be )?{_RELEVANT}\b",
    r"\bknown to be (?:not |ir|non-?)?relevant\b", r"\bas (?:annotated|labell?ed)\b",
    r"\b(?:the|by|human|by human) (?:human )?(?:annotators?|raters?|labell?ers?)\b",
    r"\bhuman (?:judges?|assessors?)\b",
    r"\bby (?:the |expert |trec |nist )?assessors\b",
    r"\b(?:they|someone|somebody|experts?|humans?|a human|an expert) (?:have |has |had )?(?:already )?(?:marked"
    r"|labell?ed|judged|annotated|rated|tagged) (?:it|this|the|that)\b",
    # a source says it, or is agreed with
    rf"\b(?:according to|as per|in|from|per|by|based on|following|given) the {_SOURCE}\b",
    rf"\bthe {_SOURCE} (?:already |here |also |clearly |for this \w+ )?{_SAYS}(?:s|es|ed|d)?\b",
    r"\b(?:consisten(?:t|cy)|in line|in agreement|in accord(?:ance)?|agrees?|agreeing|agreement|align(?:s|ed|ing|ment)?"
    r"|match(?:es|ed|ing)?|conform(?:s|ing)?|correspond(?:s|ing)?|fits?|echo(?:es)?|confirms?|reflects?|supports?"
    r"|justif(?:y|ies)|reproduces?|follows?) "
    rf"(?:with |to )?(?:the |this |its |our |that |what the )?(?:given |provided |official )?{_SOURCE}\b",
    # the writer has seen it
    r"\b(?:i|we)(?: was| were| am|['’]m| are|['’]re|['’]ve been| have been| had been)(?: already| explicitly| also)? "
    r"(?:told|given|informed|shown|provided|handed)(?: with| of)?(?: in advance| beforehand)?(?: that)?,?"
    r"(?: the| this| it| its)?(?: \w+){0,3}? (?:answer|label|verdict|judge?ment|relevant|irrelevant|outcome)\b",
    r"\b(?:i|we) (?:already )?know (?:that )?(?:the |its )?(?:correct |right |final )?(?:answer|label|verdict"
    r"|outcome)\b",
    r"\b(?:told|informed) (?:me|us) (?:that )?(?:the|this|it)(?: \w+){0,2} (?:answer|label|verdict|relevant"
    r"|irrelevant)\b",
    r"\bbackwards? from the (?:\w+ )?(?:answer|label|verdict|judge?ment|result)\b",
)  # fmt: skip
_MODEL = (
    r"\b(?:as|i am|i['’]m|being) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    r"\bmy training (?:data|set|cut-?off)", r"\bi was trained\b",
    r"(?:developed|created|made|trained) by (?:openai|deepseek)",
)  # fmt: skip
_PROMPT = (
    r"\b(?:the|this|my|your) (?:system )?prompt (?:say|state|ask|tell|want|instruct|require|specifie|doesn|does"
    r"|is\b)\w*",
    "system (?:prompt|message|instruction)s?", "(?:output|response|answer|required) format",
    r"(?:instructed|prompted|told|asked) (?:me )?to (?:answer|respond|output|reply|say|write|return|only)\b",
    "answer only with", "with (?:only )?['\"“]?true['\"”]? or ['\"“]?false",
)  # fmt: skip
_PATTERNS: dict[Kind, str] = {"label": "|".join(_LABEL), "model": "|".join(_MODEL), "prompt": "|".join(_PROMPT)}
_COMPILED = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
# What follows words that are no leak after all: "the label on the bottle", "consistent with the reference to Rome".
_OTHER_SENSE = re.compile(
    r"(?<=label) (?:on|of|for)\b(?! (?:this|the) (?:pair|example|instance|item|sample|query|passage|document|text)\b)"
    r"|(?<=reference) (?:to|in|of|list|point|frame|range|value|number)\b|(?<=benchmark) (?:for|of|index|rate)\b"
    r"|(?<=ai|el|ce) (?:company|researcher|engineer|tool|system|startup|expert)\b"
    r"|(?:(?<=ed)|(?<=en)|(?<=ys)|(?<=tes)) (?:in|by|within) (?:the|this) (?:passage|text|document|paragraph|article"
    r"|author|study|report)\b"
)


class Leak(RowFilter):
    """Drops traces that speak of a label they were shown, or of being an AI model: a student learns to cite what it
    will not have.

    Found for real in 27 of TFRank's 200 published pointwise traces ("this aligns with the reference assessment").
    Words that the query or the passage itself uses are not a leak. `prompt` (the trace speaks of its orders) is off
    by default: the student gets the same orders, and R1 repeats them in good traces.
    """

    of: list[Kind] = ["label", "model"]

    def prefilter(self, reasoning: pa.ChunkedArray) -> Sequence[bool]:
        """Whether any of the patterns is in a text, by RE2."""
        import pyarrow.compute as pc

        pattern = "|".join(_PATTERNS[kind] for kind in self.of)
        matches: list[bool] = pc.match_substring_regex(reasoning, pattern, ignore_case=True).to_pylist()
        return matches

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The words that gave it away."""
        text = trace.reasoning.lower()
        for kind in self.of:
            for match in _COMPILED[kind].finditer(text):
                words = match.group()
                if _OTHER_SENSE.match(text, match.end()):
                    continue
                if words not in pair.passage.lower() and words not in pair.query.lower():
                    return f"speaks of the {_NAMES[kind]}: “{words}”"
        return None


_NAMES: dict[Kind, str] = {"label": "label", "model": "model that writes", "prompt": "prompt"}
