"""Keeps the log-probabilities of those tokens of an answer that may be its verdict. Called by `distill.answers.body`.

Read are `choices[].logprobs.content[]` as OpenAI, vLLM, SGLang and llama.cpp write it, of the answer alone or of the
reasoning before it too, and the lists of older interfaces (`tokens`, `token_logprobs`, `top_logprobs`). Which of the
words is the verdict is found where an answer is understood (`distill.verdict_probability`); the journal keeps them all.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

from distill.answers import JsonValue

WORD: Final = re.compile(
    r"\b(?:true|false|yes|no|not relevant|non-?relevant|irrelevant|relevant"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten|\d{1,2})\b",
    re.IGNORECASE,
)
MOST: Final = 100  # words of an answer that are kept, the last ones
LEAST: Final = -9999.0  # OpenAI's value for a probability of 0


class TokenLogprobs(NamedTuple):
    """A written token, its log-probability, and those of the likeliest tokens at its place, by their text."""

    token: str
    logprob: float
    top: dict[str, float]


class WordLogprobs(NamedTuple):
    """A word that may be the verdict: where it begins in the answer (characters), and the token that begins it."""

    at: int
    token: str
    logprob: float
    top: dict[str, float]


def word_logprobs(tokens: Iterable[tuple[bytes, TokenLogprobs]], answer: str) -> list[WordLogprobs] | None:
    """The words of `answer`, of all that the tokens spell the last occurrence; None where they do not spell it."""
    written = list(tokens)
    text, wanted = b"".join(spelt for spelt, _ in written), answer.encode("utf-8", "replace")
    start = text.rfind(wanted)
    if not wanted or start < 0:
        return None
    begins = list(accumulate((len(spelt) for spelt, _ in written), initial=0))
    found = []
    for word in list(WORD.finditer(answer))[-MOST:]:
        place = start + len(answer[: word.start()].encode("utf-8", "replace"))
        found.append(WordLogprobs(word.start(), *written[bisect_right(begins, place) - 1][1]))
    return found


def read_logprobs(logprobs: JsonValue) -> Iterator[tuple[bytes, TokenLogprobs]]:
    """(bytes, token) of each token of a choice's `logprobs`; nothing for a form that is not known, and for none."""
    if not isinstance(logprobs, dict):
        return
    content = logprobs.get("content")
    if isinstance(content, list):
        for entry in content:
            if isinstance(entry, dict) and isinstance(token := entry.get("token"), str):
                top = entry.get("top_logprobs")
                others = {str(each.get("token")): each.get("logprob") for each in _objects(top)}
                yield _spelt(token, entry.get("bytes")), _of(token, entry.get("logprob"), others)
        return
    written, values, tops = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if isinstance(written, list) and isinstance(values, list) and len(written) == len(values):
        some = tops if isinstance(tops, list) and len(tops) == len(written) else [None] * len(written)
        for token, value, top in zip(written, values, some, strict=True):
            if isinstance(token, str):
                yield token.encode("utf-8", "replace"), _of(token, value, top if isinstance(top, dict) else {})


def _objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _spelt(token: str, given: JsonValue) -> bytes:
    """A token's bytes: a part of a character has no text of its own."""
    if isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given):
        return bytes(byte for byte in given if isinstance(byte, int))
    return token.encode("utf-8", "replace")


def _of(token: str, logprob: JsonValue, top: Mapping[str, JsonValue]) -> TokenLogprobs:
    found = {other: value for other, given in top.items() if (value := _number(given)) is not None}
    own = _number(logprob)
    return TokenLogprobs(token, found.get(token, LEAST) if own is None else own, found)


def _number(value: JsonValue) -> float | None:
    """A log-probability with five digits behind the point, which JSON can carry; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return round(min(0.0, max(LEAST, value)), 5)
