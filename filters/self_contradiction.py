"""The filter `self_contradiction`; the engine calls it for each trace, with `judge` once for all that are left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from distill.prompts import as_data
from distill.records import Ask, Pair, Request, Trace
from distill.verdicts import parse_verdict
from filters.base import (
    Filter,
    GroupFilter,
    Key,
    Row,
    RowFilter,
    ToolName,
    Tools,
    need,
    says_relevant,
    verdict_word,
)  # fmt: skip

_SUBJECT = (
    r"(?:passage|document|paragraph|text|article|content|excerpt|snippet|it|this|that|information|answer|verdict)"
)
_ADVERB = (
    r"(?:\w+ly |very |quite |not only |indeed |still |also |thus |considered |deemed |judged |to be |be |at all )*"
)
_MATCH = r"a (?:good |strong |perfect |direct |clear )?match"
_GOOD = rf"(?:relevant|true|helpful|useful|pertinent|suitable|satisfactory|a fit|{_MATCH})"
_NOT = r"(?:is|are|was|be|seems?|appears?|would|should|does|do|can|could)(?:n't|n’t| not|not)"
_DOES = r"(?:count|qualify|answer|address|satisfy|meet|match|fit|contain|provide|mention)"
_ANSWER_IS = (
    r"\b(?:answer|verdict|judge?ment|conclusion|response)(?: here)?(?: should| must| would| will)?"
    r"(?: be| is|:) (?:therefore |thus )?['\"“*]{0,3}"
)
_NEGATIVE = re.compile(
    rf"\b{_NOT} {_ADVERB}(?:\w+ )?(?:{_GOOD}|{_DOES})\b"
    rf"|\b(?:irrelevant|non-relevant|nonrelevant|unrelated|off-topic|off topic|unhelpful|not (?:\w+ )?{_GOOD})\b"
    rf"|\bfails? to {_DOES}\b|\bno relevance\b|{_ANSWER_IS}(?:false|no)\b"
)
_POSITIVE = re.compile(
    rf"\b{_SUBJECT} (?:\w+ )?(?:is|seems|appears|would be|should be|can be|must be) {_ADVERB}{_GOOD}\b"
    r"|\b(?:making|makes|make|so|hence|thus|and|therefore,?) (?:it |this |the passage |the document )?(?:is )?"
    rf"{_ADVERB}(?:relevant|{_MATCH})\b"
    r"|\b(?:directly|fully|clearly|completely|thoroughly|does|indeed) "
    rf"(?:answers?|address(?:es)?|satisf(?:y|ies)|meets?|match(?:es)?)\b|{_ANSWER_IS}(?:true|yes)\b"
)
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so,|so (?:the|it|this|that|my|i)\b"
    r"|in (?:conclusion|summary)|to (?:conclude|sum up)|overall,"
    r"|conclusion|consequently|as a result|for these reasons|(?:final |my |correct )answer"
    r"|answer (?:is|should|must|would|here)|verdict|judge?ment (?:is|should))"
)
_TWO_SIDED = re.compile(
    r"\b(?:if|unless|might|may|partial(?:ly)?|somewhat|whether|although|though|while|could|however|but|other|further|also"
    r"|not (?:entirely|fully|completely|enough)|only|comprehensive\w*|except|would (?!be |have to be )\w+|assuming)\b"
)
_NEGATED = re.compile(r"\b(?:no|not|none|nor|never|without|neither|rather than|unlikely|cannot|lacks?)\b|n[’']t\b")
TAIL = 500  # characters


class SelfContradiction(RowFilter):
    """Drops traces whose own conclusion opposes the verdict: the student would learn that reasons do not matter.

    Reads the last sentence that concludes ("therefore", "so the passage", "the answer is") and says plainly which way;
    what is hedged, two-sided or negated twice does not count. Figures in docs/filters.md. With `judge` the teacher is
    asked what the other traces conclude; an answer that is neither true nor false, or none, drops nothing.
    """

    judge: bool = Field(False, description="ask the teacher where no rule reads a conclusion; costs what asking costs")

    def uses(self) -> tuple[ToolName, ...]:
        return ("ask",) if self.judge else ()

    def prepare(self, tools: Tools) -> Filter:
        """With the teacher, where it is to judge. Raises ConfigError where there is none."""
        if not self.judge:
            return self
        return _Judged().with_teacher(self, need(tools.ask, self.name, "with judge needs a teacher to ask"))

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The sentence and the verdict that it opposes."""
        if trace.verdict is None:
            return None
        concluded = conclusion(trace.reasoning)
        if concluded is None or concluded[0] == says_relevant(trace):
            return None
        relevant, sentence = concluded
        direction = "relevant" if relevant else "not relevant"
        return f"concludes {direction} and answers {verdict_word(trace)}: “{sentence[-120:]}”"


class _Judged(GroupFilter):
    """The rules first, then the teacher about what they leave open; the teacher answers many requests in parallel."""

    name: ClassVar[str] = SelfContradiction.name
    _rules: SelfContradiction = SelfContradiction()
    _ask: Ask | None = None

    def with_teacher(self, rules: SelfContradiction, ask: Ask) -> Filter:
        self._rules, self._ask = rules, ask
        return self

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        ask = need(self._ask, self.name, "was not prepared")
        rejected: dict[Key, str | Pair] = {}
        waiting: dict[str, list[tuple[Key, bool, str]]] = {}  # by request: traces, their verdicts and verdicts' words

        def requests() -> Iterator[Request]:
            for pair, trace in rows:
                key, relevant = (trace.pair_id, trace.sample), says_relevant(trace)
                if reason := self._rules(pair, trace):
                    rejected[key] = reason
                elif relevant is not None and conclusion(trace.reasoning) is None:
                    content = _QUESTION.format(reasoning=as_data(trace.reasoning))
                    request = ask.request(content, purpose="judge", temperature=0.0)
                    waiting.setdefault(request.request_id, []).append((key, relevant, verdict_word(trace)))
                    yield request

        for answer in ask(requests()):
            concludes = parse_verdict(answer.content) if answer.error is None else None
            for key, relevant, word in waiting.pop(answer.request_id, ()):
                if concludes is not None and bool(concludes) != relevant:
                    direction = "relevant" if concludes else "not relevant"
                    rejected[key] = f"the teacher reads the conclusion {direction}, the trace answers {word}"
        return rejected


_QUESTION = (
    "Below is a chain of thought about whether a passage is relevant to a query. Say what it concludes itself, whether "
    "or not you agree: answer only 'true' if it concludes that the passage is relevant, 'false' if it concludes that "
    "it is not, 'unclear' if it concludes neither.\n\n{reasoning}"
)


def conclusion(reasoning: str) -> tuple[bool, str] | None:
    """(whether the reasoning itself concludes that the passage is relevant, the sentence); None where none is plain."""
    tail = reasoning[-TAIL:].lower()
    sentences = tail.replace("\n", ". ").replace("? ", ". ").replace("! ", ". ").split(". ")
    for sentence in reversed(sentences[1:] if len(reasoning) > TAIL else sentences):
        if not _CONCLUDES.search(sentence) or _TWO_SIDED.search(sentence):
            continue
        if _NEGATIVE.search(sentence):
            return False, sentence
        if not _NEGATED.search(sentence) and _POSITIVE.search(sentence):
            return True, sentence
    return None
