"""The forms in which answers carry a verdict: markup, JSON, labels, first and last sentences. For `distill.verdicts`.

Every pattern is bounded: no input makes one of them take more than linear time. Those that go over a whole answer
begin with a letter and look behind afterwards, or run only where a word that they need is there: `re` passes quickly
over text where a pattern cannot begin, but not where it begins with a boundary or a look behind.
"""

# ruff: noqa: SIM905  lists of words are read as words
from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

JsonValue = str | int | float | bool | None
OPTIONS = "options"  # stands for a repeated form, "true/false" or "(0-4)": what may be said and not what is said

_TURN_ENDS = re.compile(
    r"<\|(?:eot_id|end|im_end|endoftext|end_of_text|eom_id|assistant|user|start_header_id)\|>|</s>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>|<\|im_start\|>"
)
_STRUCK = re.compile(r"~~[^~\n]{1,80}~~")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|texttt|textrm|mathrm|mathbf|mathsf)\s?\{([^{}\n]{0,80})\}")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s?\{([^{}\n]{0,80})\}")
_TAG = re.compile(
    r"<(final_answer|answer|verdict|judge?ment|relevance|relevant|is_relevant|irrelevant|result|label|decision|guess"
    r"|score|grade|rating|output|response)>\s{0,20}([^<>]{0,300}?)\s{0,20}</\1>"
)
_QUOTE = re.compile(r"'(?:(?<![a-z0-9]')|(?![a-z0-9]))")
_UNCHECKED = re.compile(r"^[ \t*-]{0,8}\[ \][^\n]*$", re.MULTILINE)
_DASH = re.compile(r"[–‐‑−](?=\d)")
_SPACES = re.compile(r"[ \t]{2,}")
_CAN = re.compile(r"can(?:not|'t|t| not)\b")
_CANNOT = re.compile(rf"\b{_CAN.pattern}")
_NOT = re.compile(
    r"n(?:'t\b|t\b(?:(?<=\b(?:is|do)nt)|(?<=\b(?:are|was|did|has)nt)|(?<=\b(?:were|does|have)nt)"
    r"|(?<=\b(?:would|could)nt)))"
)
_TABLE_ROW = re.compile(
    r"^ {0,4}\| {0,20}(relevant|relevance|verdict|answer|judge?ment|is (?:it )?relevant|final (?:answer|verdict))"
    r" {0,20}\| {0,20}(yes|no|true|false) {0,20}\|? {0,4}$",
    re.MULTILINE,
)
_SURELY = re.compile(
    r"\b(?:there is |with )?(?:no|without|beyond)(?: a| any)? (?:doubt|question)(?: that| about it| about this)?\b,?"
)
_ANY_QUESTION = re.compile(r"question(?:(?<=no.{9})|(?<=without.{9})|(?<=beyond.{9})|(?<= a.{9})|(?<= any.{9}))")
_DROPPED = str.maketrans(dict.fromkeys('*`"“”„«»[]<>#$‘') | {"_": " ", "’": "'", "\\": " ", "。": ". "}
                         | dict.fromkeys("❌✘✖❎🚫👎☒", "✗")
                         | {"\u00a0": " ", "\u200b": None, "\ufe0f": None})  # fmt: skip

_OPTION = r"(?:true|false|yes|no|not relevant|relevant|irrelevant|non-relevant|nonrelevant)"
_LAST_OPTION = rf"(?:{_OPTION}|not|unclear|unsure|maybe|partially relevant|partially|unknown)"
_CHOICE = re.compile(
    rf"\b(?:{_OPTION} ?, ?){{0,4}}{_OPTION}(?: ?\([^()\n]{{0,24}}\))? ?(?:,? or |/|\||,? vs\.? )(?: |is ){{0,2}}"
    rf"{_LAST_OPTION}\b(?: ?\([^()\n]{{0,24}}\))?(?: ?(?:,? or |/|\|) ?{_LAST_OPTION}\b){{0,4}}"
)
_SECOND_OPTION = [re.compile(rf"{mark}(?: |is ){{0,2}}{_LAST_OPTION}\b") for mark in (" or ", "/", r"\|", r" vs\.? ")]
_NEGATIVE = re.compile(r"\b(?:false|no|not|irrelevant|non-?relevant|unclear|unsure|maybe|partially|unknown)\b")
_POSITIVE = re.compile(r"\b(?:true|yes|(?<!not )relevant)\b")
_DIGIT = r"(?:\d{1,2}|zero|one|two|three|four|five|six|seven|eight|nine|ten)"
_SCALE = re.compile(
    rf"(?:\bon a )?(?:\bscale )?(?:\bof |\bfrom |\bbetween )?(?<![\w.,/-])(?:0|1|zero|one) ?(?:-|–|—|to|and"
    rf"|through) ?{_DIGIT}"
    rf"(?![\w/]|\.\d)|\b{_DIGIT}(?:, ?{_DIGIT}){{1,10}},? (?:or|and) {_DIGIT}\b"
)

_RANGE = rf" ?(?:-|–|—|to|and|through) ?{_DIGIT}(?![\w/]|\.\d)"
# What the forms above hold, a pattern for each beginning: `re` looks fast for letters that are always the same.
_HOLDS_SCALE = [re.compile(rf"{start}(?<![\w.,/-]{start}){_RANGE}") for start in ("0", "1", "zero", "one")] + [
    re.compile(rf", ?{_DIGIT}(?:, ?{_DIGIT}){{0,9}},? (?:or|and) {_DIGIT}\b")
]

_LABEL = re.compile(  # with the character before it; by first letters, since each one is tried at every word
    r"[^a-z](?P<word>a(?:nswer|ssessment)|verdict|g(?:uess|rade)|judge?ment|de(?:cision|termination)"
    r"|c(?:onclusion|lassification)|prediction|evaluation|label|r(?:e(?:sult|sponse|levan(?:ce|cy|t))|ating)"
    r"|o(?:utput|ptions)|irrelevan(?:t|ce)|match(?:es)?|score)\b"
)
_AFTER = re.compile(
    r"(?P<words>(?: (?!(?:is|was|are|be|would|should|must|will|has|remains|therefore|thus|then"
    r"|clearly)\b)[a-z'-]{1,20})"
    r"{0,8}?) ?(?P<form>\([^()\n]{0,160}\))? ?[)}]? ?"
    r"(?P<separator>[:=?|]|-{1,2}>|→|⇒|—|–|- |\n"
    r"|(?:(?:therefore|thus|then|clearly|,) ?){0,2}(?P<be>(?:is|was|would be|should be|must be|will be"
    r"|has to be|remains)\b))"
    rf"[\s:=>→|—–?]{{0,20}}(?:- )?(?:\(?[^()\n]{{0,20}}{OPTIONS}[^()\n]{{0,20}}\)[\s:=>→|—–-]{{0,20}})?"
)
_NO_LABEL = frozenset(
    (
        "reason reasons reasoning because why explanation explain confidence certainty if whether when unless "
        "example examples format possible either other alternative not no without never nor initial suppose "
        "instead wrong incorrect assuming hypothetical since although though while n't previous earlier "
        "opposite"
    ).split()
)
_CONDITION = re.compile(
    r"\b(?:if|whether|when|unless|suppose|assuming|had|would have|not|no|never|nor|neither|doubt|wrong|incorrect|deny|"
    r"unlikely|hardly|example|why|could|might|may)\b"
)
_STOP = re.compile(r"[.!?\n](?:(?<=\n)|(?=\s|$)(?<!\be\.g.)(?<!\bi\.e.)(?<!\bvs.))")
_SKIP = re.compile(r"[\s:=>|.,!)}—–]{0,40}")
LONGEST = 600  # characters of a sentence that is read
MOST_LABELS = 300


class Label(NamedTuple):
    """Where the value of a label begins. `heads`: it opens its line or sentence; `negated`: it asks the opposite."""

    value: int
    heads: bool
    negated: bool


def plain(answer: str) -> str:
    """The first turn in lower case, without markup and emoji; "not" for "n't", OPTIONS for repeated forms."""
    text = answer if answer.isascii() else unicodedata.normalize("NFKC", answer)
    if "<" in text:
        text = next((part for part in _TURN_ENDS.split(text) if part.strip()), "")
    text = text.lower()
    if "~~" in text:
        text = _STRUCK.sub("", text)
    if "\\" in text:
        text = _BOXED.sub(r"\nanswer: \1\n", _LATEX_TEXT.sub(r"\1", text))
    if "<" in text:
        text = _TAG.sub(r"\n\1: \2\n", text)
    if "[ ]" in text:
        text = _UNCHECKED.sub("", text).replace("[x]", "")
    text = text.translate(_DROPPED).strip()
    if "'" in text:
        text = _QUOTE.sub("", text.replace("it's", "it is").replace("that's", "that is").replace("i'd", "i would"))
    if not text.isascii():
        text = _DASH.sub("-", text)
    if "  " in text or "\t" in text:
        text = _SPACES.sub(" ", text)
    if _CAN.search(text):
        text = _CANNOT.sub("not", text)
    text = _NOT.sub(" not", text).replace("not only ", "")
    if "doubt" in text or _ANY_QUESTION.search(text):
        text = _SURELY.sub("surely", text)
    if "|" in text:
        text = _TABLE_ROW.sub(r"\1: \2", text)
    if any(second.search(text) for second in _SECOND_OPTION):
        text = _CHOICE.sub(_as_options, text)
    return _SCALE.sub(OPTIONS, text) if any(scale.search(text) for scale in _HOLDS_SCALE) else text


def _as_options(match: re.Match[str]) -> str:
    both = _NEGATIVE.search(match.group()) and _POSITIVE.search(match.group())
    return OPTIONS if both else match.group()


def labels(text: str) -> Iterator[Label]:
    """The labels of a plain text that a value follows: "answer:", "is it relevant (options)?", "my verdict is"."""
    lines = f"\n{text}"  # a place in it is one further on than in `text`
    whole_words = (hit for hit in _LABEL.finditer(lines) if not _is_letter(lines[hit.start()]))
    for hit in islice(whole_words, MOST_LABELS):
        word, start = hit["word"], hit.start()
        after = _AFTER.match(text, hit.end() - 1)
        if after is None:
            continue
        before = text[max(0, start - 100) : start]
        left = before[max(before.rfind(mark) for mark in "\n.;!?:|({,") + 1 :]
        words = [*left.split(), *after["words"].split()]
        question = after["separator"] == "?"
        if after["be"]:
            asks_fact = {"to", "for"}.intersection(after["words"].split())
            if word in ("relevant", "irrelevant") or asks_fact or _CONDITION.search(_sentence_before(before)):
                continue
            yield Label(after.end(), False, False)
            continue
        negated = word.startswith("irrelevan") or left.rstrip().endswith(("not", "non", "non-", "not a", "no"))
        others = words[:-1] if negated and not word.startswith("irr") and not after["words"] else words
        if (negated and question) or len(left.split()) > 6 or _NO_LABEL.intersection(others):
            continue
        if word in ("answer", "response") and _asks_fact(after["words"]) and not question:
            continue
        if after["separator"] in ("\n", "—", "–", "- ") and len(words) > 3:
            continue
        if after["separator"] == "\n" and len(words) > 2:
            continue
        yield Label(after.end(), True, negated)


def _is_letter(character: str) -> bool:
    """Whether a pattern's word goes on with it, as `re` has it."""
    return character.isalnum() or character == "_"


def _sentence_before(before: str) -> str:
    return before[max(before.rfind(mark) for mark in "\n.!?") + 1 :]


def _asks_fact(words: str) -> bool:
    """Whether a label is of the answer to the query itself: "answer to the question: yes"."""
    return words.startswith((" to the query", " to the question", " to this question", " to your question"))


def sentence_at(text: str, start: int) -> str:
    """The sentence that begins at `start`, at most LONGEST characters, without what separates it from its label."""
    skipped = _SKIP.match(text, start)
    begin = skipped.end() if skipped else start
    stop = _STOP.search(text, begin, begin + LONGEST)
    return text[begin : stop.end() if stop else begin + LONGEST]


def sentences(text: str) -> list[str]:
    """The first sentence, also the second where the first is of three words at most, and the last."""
    first = sentence_at(text, 0)
    chosen = [first]
    begin = text.find(first) + len(first)
    if len(first.split()) <= 3 and not first.endswith("?"):
        second = sentence_at(text, begin)
        begin = text.find(second, begin) + len(second)
        chosen.append(second)
    if begin < len(text):
        tail = text[max(begin, len(text) - LONGEST) :].rstrip()
        stop = _last_stop(tail)
        asked = (tail[:stop] or text[:begin]).rstrip().endswith("?")  # the label's reader knows what the question was
        if not asked and (stop or len(text) - begin <= LONGEST):
            chosen.append(tail[stop:].strip())
    return [sentence for sentence in chosen if sentence]


def _last_stop(tail: str) -> int:
    """Where the last sentence of `tail` begins; 0 where it is the only one."""
    end = len(tail) - 1
    while end > 0:
        end = max(tail.rfind(mark, 0, end) for mark in ".!?\n")
        if end >= 0 and (stop := _STOP.match(tail, end, len(tail) - 1)):
            return stop.end()
    return 0


def json_values(answer: str, keys: frozenset[str]) -> list[tuple[str, JsonValue]]:
    """(key, value) of the keys in the answer's JSON objects, nested ones too; keys by their letters, lower case."""
    decoder, pairs, begin = json.JSONDecoder(), [], answer.find("{")
    for _ in range(8):
        if begin < 0:
            break
        try:
            value, end = decoder.raw_decode(answer, begin)
        except (ValueError, RecursionError):
            end = begin + 1
        else:
            pairs += _of_keys(value, keys, 3)
        begin = answer.find("{", end)
    return pairs


def _of_keys(value: object, keys: frozenset[str], depth: int) -> list[tuple[str, JsonValue]]:
    if depth and isinstance(value, list):
        return [pair for item in value[:50] for pair in _of_keys(item, keys, depth - 1)]
    if not depth or not isinstance(value, dict):
        return []
    pairs: list[tuple[str, JsonValue]] = []
    for name, item in value.items():
        key = "".join(letter for letter in str(name).lower() if letter.isalpha())
        if isinstance(item, dict | list):
            pairs += _of_keys(item, keys, depth - 1)
        elif key in keys:
            pairs.append((key, item))
    return pairs
