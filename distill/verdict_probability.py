"""The probability that the teacher itself gave its verdict, from the log-probabilities of its answer's words.

The verdict's place is that of the word whose opposite would turn round what `distill.verdicts` reads, so it is never a
"true" in a quotation or a form. Of several such words the first counts: a teacher that repeats itself is sure of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from distill.answers.logprobs import WordLogprobs
from distill.prompts import FALSE, GRADES, PROMPT_NAME, PROMPTS, TRUE
from distill.verdicts import parse_verdict

OPPOSITES = {"true": "false", "false": "true", "yes": "no", "no": "yes"}
CALLS = {  # looked at where none of the words above decides: of {"relevant": true} the key is not the verdict
    "relevant": "irrelevant", "irrelevant": "relevant", "not relevant": "relevant", "nonrelevant": "relevant",
    "non-relevant": "relevant",
}  # fmt: skip
_BINARY = {word: word in ("true", "yes", "relevant") for word in ("not", *OPPOSITES, *CALLS)}
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


def p_relevant(content: str, words: Iterable[WordLogprobs], prompt: str = PROMPT_NAME) -> float | None:
    """The probability that the answer's verdict is relevant (true, or a grade that counts as relevant), 0 to 1.

    That of the relevant words over that of all verdicts among the likeliest tokens. Where they hold no word of the
    other side, it gets the most that it can have: what the least likely of them has, and no more than what is left.
    So an answer is never taken for surer than it is. None where no word decides what is read, or none is among `words`.
    """
    known = {word.at: word for word in words}
    verdict = parse_verdict(content, prompt)
    if verdict is None or not known:
        return None
    for opposites in _opposites(prompt):
        span = _deciding(content, verdict, opposites, prompt)
        if span is not None:
            found = known.get(span.start())
            return None if found is None else _share(found, span.group().lower(), _sides(prompt))
    return None


def _deciding(content: str, verdict: int, opposites: dict[str, str], prompt: str) -> re.Match[str] | None:
    """The first word whose opposite turns the verdict round, else the first whose opposite leaves none."""
    least, unclear = PROMPTS[prompt].relevant_from, None
    for span in re.finditer(rf"\b(?:{'|'.join(sorted(opposites, key=len, reverse=True))})\b", content, re.IGNORECASE):
        turned = parse_verdict(
            content[: span.start()] + opposites[span.group().lower()] + content[span.end() :], prompt
        )
        if turned is not None and (turned >= least) != (verdict >= least):
            return span
        if turned is None and unclear is None:
            unclear = span
    return unclear


@lru_cache(maxsize=16)
def _opposites(prompt: str) -> Sequence[dict[str, str]]:
    """Words with their opposites, those to be looked for first in front; of grades the end of the scale beyond."""
    scale = PROMPTS[prompt]
    if scale.verdicts == (FALSE, TRUE):
        return OPPOSITES, CALLS
    top = len(scale.verdicts) - 1
    ends = [0 if grade >= scale.relevant_from else top for grade in range(top + 1)]
    words = {GRADES[grade].strip(): GRADES[end].strip() for grade, end in enumerate(ends)}
    return (words | {str(grade): str(end) for grade, end in enumerate(ends)},)


@lru_cache(maxsize=16)
def _sides(prompt: str) -> dict[str, bool]:
    """{word: whether it says relevant}."""
    scale = PROMPTS[prompt]
    if scale.verdicts == (FALSE, TRUE):
        return _BINARY
    grades = range(len(scale.verdicts))
    words = {GRADES[grade].strip(): grade >= scale.relevant_from for grade in grades}
    return words | {str(grade): grade >= scale.relevant_from for grade in grades}


def _share(found: WordLogprobs, word: str, sides: dict[str, bool]) -> float | None:
    """The share of relevant words at a token. Of a word that is spelt in several, others count by their beginning."""
    split = not _plain(found.token).startswith(word)
    listed = {found.token: found.logprob, **found.top}
    mass = {True: 0.0, False: 0.0}
    for token, logprob in listed.items():
        if (side := _side(_plain(token), sides, split)) is not None:
            mass[side] += math.exp(logprob)
    if not mass[True] and not mass[False]:
        return None
    for side, other in ((True, False), (False, True)):
        if not mass[side]:
            least = math.exp(min(found.top.values())) if found.top else 1.0
            mass[side] = min(least, max(0.0, 1 - sum(map(math.exp, listed.values()))))
            return mass[True] / (mass[side] + mass[other])
    return mass[True] / (mass[True] + mass[False])


def _side(token: str, sides: dict[str, bool], split: bool) -> bool | None:
    """What a token says: a whole word, or the beginning of words of one side; None for anything else.

    A digit may go on to a longer number whatever the tokenizer, so "1" says nothing on a scale up to 10.
    """
    if not token:
        return None
    begun = split or token.isdigit()
    meant = {side for word, side in sides.items() if word == token or (begun and word.startswith(token))}
    return meant.pop() if len(meant) == 1 else None


def _plain(token: str) -> str:
    """A token's word in lower case, without marks and spaces around it."""
    return _EDGES.sub("", token.lower())
