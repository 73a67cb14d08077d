"""Reads the verdict or the grade in an answer's text. For every stage that reads what a teacher or a judge said.

What is read and what is not: docs/filters.md. An answer that can be read either way has no
verdict. One that is missed costs an answer; one that is turned round teaches the student the opposite.
"""

# ruff: noqa: SIM905  lists of words are read as words
from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from distill.answers.text import split_text
from distill.prompts import FALSE, GRADES, PROMPT_NAME, PROMPTS, TRUE
from distill.statements import UNCLEAR, stated
from distill.verdict_forms import JsonValue, json_values, labels, plain, sentence_at, sentences

SHORT = 40  # characters of an answer that is kept with its reading
Reader = Callable[[str, bool], int | None]  # (sentence, whether a label names it) -> verdict, UNCLEAR or None

_POSITIVE: Final = frozenset(("true yes yep yeah yup relevant pertinent helpful useful related").split())
_FOREIGN: Final = {
    "oui": 1, "vrai": 1, "ja": 1, "wahr": 1, "sí": 1, "verdadero": 1, "vero": 1, "sim": 1, "verdadeiro": 1, "да": 1,
    "是": 1, "相关": 1, "はい": 1, "non": 0, "faux": 0, "nein": 0, "falsch": 0, "falso": 0, "não": 0, "нет": 0,
    "否": 0, "不是": 0, "不相关": 0, "いいえ": 0,
}  # fmt: skip
_KEYS: Final = frozenset(
    (
        "verdict answer finalanswer finalverdict judgment judgement label decision prediction result guess "
        "conclusion classification relevancejudgment relevancejudgement relevanceverdict relevancelabel"
    ).split()
)
_TRUTH_KEYS: Final = frozenset(["relevant", "relevance", "isrelevant"])
_OPPOSITE_KEYS: Final = frozenset(["irrelevant", "notrelevant", "isirrelevant", "nonrelevant"])
_GRADE_KEYS: Final = frozenset(("relevance grade score rating relevancescore relevancegrade relevancerating").split())

_OPENING = (
    r"(?:(?:so|therefore|thus|hence|overall|finally|in conclusion|in summary|to conclude|in short"
    r"|ultimately|wait|actually"
    r"|hmm|sorry|correction|consequently|accordingly|okay|ok|well|no wait|i am sorry),? ){0,2}"
    r"(?:i (?:would |will |must |shall |have to )?(?:say|answer|go with|conclude|guess|respond|vote|choose|think|judge)"
    r"(?: that| with)?[,:]? )?"
)
_CERTAINLY = (
    r"(?:(?:surely|definitely|absolutely|certainly|clearly|obviously|likely|probably|most|very likely|of course|simply"
    r"|just|therefore|thus|hence|indeed|also|plainly|still) ){0,3}"
)
_PHRASE = re.compile(
    rf"[^\w✗+-]{{0,40}}✗?\W{{0,3}}{_OPENING}(?:(?:a|an|the|clear) ){{0,2}}(?:is (?=not )|{_CERTAINLY})"
    r"(?P<not>not[ -](?:at all |really |directly |very |particularly |actually |clearly )?)?"
    r"(?:(?P<truth>true|false|yes|no|yep|yeah|yup|nope|nah)"
    r"|(?:highly |very |clearly |directly |completely |totally |entirely )?(?P<relevance>relevant|irrelevant|unrelated"
    r"|non-?relevant|non relevant|pertinent|helpful|unhelpful|useful|related|off-topic|off topic))(?![\w'-])"
    r"(?: ?\(\d{1,2}\))?"
)
_ENDS_TRUTH = re.compile(
    r"\s*(?:$|[.,;:!)}\n(—–✗]|- )|\s(?:because|since|as|for|given|due|it|the|this|there|passage|in this|here)\b|\W+$"
)
_ENDS_RELEVANCE = re.compile(
    r"\s*(?:$|[.;!)}\n(—–✗]|- |, ?(?:because|since|as|given|the|it|this|i|due)\b)|,?\s*$|[^\w?]+$"
    r"|\s(?:to|for) (?:\w+ ){0,4}(?:query|question|topic)\b|\s(?:because|since|as|given|due|at all)\b"
)
_OPPOSED = re.compile(r": ?(?!true|false|yes\b|no\b(?! [a-z])|options)\w")  # "not relevant: the passage …"
_FORM = re.compile(r" ?\([^()\n]{0,80}\) ?[:=?]")  # "relevant (options): …"
_REVISED = re.compile(
    r"\W{0,8}(?:(?P<taken_back>wait|actually|correction|sorry|i mean|rather|scratch that|or rather)\b"
    r"|(?P<other>true|false|yes|no|relevant|irrelevant|not relevant|maybe|perhaps|partially)\s*(?:$|[.,;!)\n—–]))"
)
_HEDGED = re.compile(
    r"\W{0,8}(?:(?:it is|only|this is|somewhat|the passage is) ){0,2}(?:partial|partially|partly|somewhat|maybe|perhaps"
    r"|possibly|unclear|unsure|uncertain|unknown|undecided|undetermined|not sure|not clear|n/a|it depends|depends|both"
    r"|mixed|neither|either|marginally|slightly|tangentially|borderline|inconclusive|ambiguous|yes and no)\b"
)
_CONTRAST = re.compile(r"\b(?:but|however|though|although|yet)\b")
_WHOLLY = re.compile(r"\b(?:completely|totally|entirely)\b")
_BUT_NOT = re.compile(r"\b(?:but|though|although|yet) (?:it is |is )?not\b|\bexcept\b")
_REASONING = re.compile(r"(?:step \d+|reason(?:s|ing)?|explanation|analysis|rationale|thoughts?|justification) ?[:=]")
_CLOSED = re.compile(r"\W*\w+\W*?(?:\n|\.|\}|$)")

_WORDS = {word.strip(): grade for grade, word in enumerate(GRADES)}
_COUNT = rf"\d{{1,4}}(?:[.,]\d{{1,4}})?|{'|'.join(_WORDS)}"
_NUMBER = (
    rf"(?P<sign>[+−-]?)(?P<number>{_COUNT})(?![\w%])(?: ?(?:/|out of|of) ?(?P<top>{_COUNT})\b)?"
    rf"(?: ?\( ?(?P<again>{_COUNT}) ?\))?"
)
_ENDS_NUMBER = re.compile(
    r"\s*(?:$|[.;!?)}\n(✗]|[—–:](?! ?\d)|,(?! ?\d)|- (?!\d))|\s(?:because|since|as|the|it|this|for|given"
    r"|points?|stars?|on)\b"
)
_GRADED = re.compile(rf"[^\w+−-]{{0,40}}(?:- )?(?:(?:a|an|of|grade|score|rating|level|the) ){{0,3}}{_NUMBER}")
_GIVES = re.compile(
    r"\b(?:i (?:would |will )?(?:give|rate|grade|assign|score)(?: it| this| that| the| passage){0,3}(?: a"
    r"| an| as| at){0,2}"
    r"|(?:gets|deserves|merits|receives|earns|is)(?: a| an){0,2})(?: (?:grade|score|rating)(?: of)?)? "
    rf"(?=\d|[a-z]){_NUMBER}"
)
_UNSURE = re.compile(r"\b(?:if|whether|when|unless|would|could|might|may|not|never|no|or|between|least|most|than)\b")


def parse_verdict(content: str, prompt: str = PROMPT_NAME) -> int | None:
    """The grade that an answer says: of `graded_…` prompts a number in words or digits, else 1 (true) or 0 (false).

    None when the answer does not say one plainly, contradicts itself, or names a grade beyond the scale.
    """
    return (_read_short if len(content) <= SHORT else _read)(content, prompt)


def _read(content: str, prompt: str) -> int | None:
    verdicts = PROMPTS[prompt].verdicts
    if verdicts != (FALSE, TRUE):
        return parse_grade(content, len(verdicts) - 1)
    if content.strip() == "relevant":  # what a form begins with, copied as it is; "Relevant" and "relevant." are read
        return None
    return _parse(content, _say, _json_truth)


_read_short = lru_cache(maxsize=4096)(_read)  # most answers are one of a few: "true", "false", "\n</think> true"


def parse_grade(content: str, top: int) -> int | None:
    """The grade from 0 to `top` that an answer says, in digits or in English words; None as for `parse_verdict`."""
    return _parse(content, partial(_say_grade, top), partial(_json_grade, top))


def _parse(content: str, say: Reader, from_json: Callable[[str], list[int]]) -> int | None:
    """What a label, a line of its own or a JSON object names; only where none does, what the sentences say."""
    _, answer = split_text(content)
    if "{" in answer and (values := from_json(answer)):
        return _agreed(values, [])
    text = plain(answer)
    if not text:
        return None
    named: list[int] = []
    stated: list[int] = []
    for label in labels(text):
        value = say(sentence_at(text, label.value), True)
        if value is not None:
            if label.negated:
                closed = value in (0, 1) and _CLOSED.match(text, label.value, label.value + 40)
                value = 1 - value if closed else UNCLEAR
            (named if label.heads else stated).append(value)
    for line in {text[: text.find("\n") % (len(text) + 1)], text[text.rfind("\n") + 1 :]}:
        if len(line) < 80 and (value := _alone(line, say)) is not None:
            named.append(value)
    for sentence in sentences(text):
        if (value := say(sentence, False)) is not None and not (named and _REASONING.match(sentence)):
            stated.append(value)
    return _agreed(named or stated, stated)


def _agreed(values: list[int], others: list[int]) -> int | None:
    """The one value that all have; None where one is unclear or they differ."""
    distinct = {*values, *(value for value in others if value != UNCLEAR)}
    verdict = distinct.pop() if len(distinct) == 1 else UNCLEAR
    return None if verdict == UNCLEAR else verdict


def _alone(line: str, say: Reader) -> int | None:
    """The verdict of a line that holds nothing else."""
    value = say(line, True)
    return value if value is not None and len(re.findall(r"\w+", line)) <= 4 and ":" not in line.strip(": ") else None


def _say(sentence: str, named: bool) -> int | None:
    """What one sentence says: a leading verdict, a plain statement, or both where they agree."""
    return (_says_short if len(sentence) <= SHORT else _says)(sentence, named)


def _says(sentence: str, named: bool) -> int | None:
    if named and _HEDGED.match(sentence):
        return UNCLEAR
    phrase = _PHRASE.match(sentence)
    begin = phrase.end() if phrase and phrase["truth"] and _ENDS_TRUTH.match(sentence, phrase.end()) else 0
    states = stated(sentence[begin:])  # the "no" of "No, the passage …" does not negate what follows
    leads = _leading(sentence, phrase, named, states) if phrase else None
    verdicts = {value for value in (leads, states) if value is not None}
    if not verdicts and len(sentence) < 20:
        return _FOREIGN.get(sentence.strip(" .!,:;-–—()\n"))
    return None if not verdicts else verdicts.pop() if len(verdicts) == 1 else UNCLEAR


_says_short = lru_cache(maxsize=4096)(_says)


def _leading(sentence: str, phrase: re.Match[str], named: bool, states: int | None) -> int | None:
    """1, 0 or UNCLEAR by the phrase that the sentence begins with; None where the sentence goes on in another sense."""
    word, end = phrase["truth"] or phrase["relevance"], phrase.end()
    value = int(word in _POSITIVE)
    if phrase["not"]:
        value = 0 if value and not _WHOLLY.search(phrase.group()) else UNCLEAR  # "not entirely relevant"
    if phrase["truth"]:
        if not _ENDS_TRUTH.match(sentence, end):
            return None
        concedes = value == 1 and not named and sentence[end : end + 1] == "," and states is None
        if concedes and _CONTRAST.search(sentence, end):
            return None  # "true, it names the fish, but …"
    elif _FORM.match(sentence, end):
        return None
    elif not _ENDS_RELEVANCE.match(sentence, end):
        return 0 if value == 0 and _OPPOSED.match(sentence, end) else None
    elif _BUT_NOT.search(sentence, end):
        return UNCLEAR
    revised = _REVISED.match(sentence, end)
    if revised and (revised["taken_back"] or int(revised["other"] in _POSITIVE) != value):
        return UNCLEAR
    return UNCLEAR if value == 1 and "✗" in sentence[: end + 2] else value


def _say_grade(top: int, sentence: str, named: bool) -> int | None:
    """The grade that a sentence begins with, when a label names it or a mark ends it, or that it says to give."""
    leading = _GRADED.match(sentence)
    if leading and _ENDS_NUMBER.match(sentence, leading.end()):
        rest = sentence[leading.end() :].lstrip()
        if named or not leading["number"][0].isdigit() or rest[:1] in ("(", "—", "–", "-", ","):
            return _grade(leading, top)
    if named:
        return None
    grades = {
        _grade(match, top)
        for match in _GIVES.finditer(sentence)
        if _ENDS_NUMBER.match(sentence, match.end()) and not _UNSURE.search(sentence[: match.start()])
    }
    return None if not grades else grades.pop() if len(grades) == 1 else UNCLEAR


def _grade(match: re.Match[str], top: int) -> int:
    """The number on a scale up to `top`; UNCLEAR for parts of a grade, other scales, and what lies beyond."""
    value, scale, again = (_number(match[name]) for name in ("number", "top", "again"))
    whole = value is not None and value == int(value) and 0 <= value <= top and match["sign"] in ("", "+")
    agrees = scale in (None, top) and again in (None, value)
    return int(value) if value is not None and whole and agrees else UNCLEAR


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    return float(_WORDS[text]) if text in _WORDS else float(text.replace(",", "."))


def _json_truth(answer: str) -> list[int]:
    pairs = json_values(answer, _KEYS | _TRUTH_KEYS | _OPPOSITE_KEYS)
    values = [value for key, value_of_key in pairs if (value := _truth(key, value_of_key)) is not None]
    return values or [UNCLEAR] * bool(pairs)


def _truth(key: str, value: JsonValue) -> int | None:
    truth = None
    if isinstance(value, bool) or (value in (0, 1) and key in _TRUTH_KEYS | _OPPOSITE_KEYS):
        truth = int(value or 0)
    elif isinstance(value, str):
        truth = _say(plain(value), True)
    if key in _OPPOSITE_KEYS:
        return truth if truth in (None, UNCLEAR) else 1 - truth
    return truth


def _json_grade(top: int, answer: str) -> list[int]:
    pairs = json_values(answer, _KEYS | _GRADE_KEYS)
    grades = [_say_grade(top, plain(str(value)), True) for _, value in pairs if not isinstance(value, bool)]
    values = [value for value in grades if value is not None]
    return values or [UNCLEAR] * bool(pairs)
