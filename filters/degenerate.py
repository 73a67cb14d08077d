"""The filter `degenerate`, on by default; the engine calls it for each trace."""

from __future__ import annotations

import zlib
from typing import ClassVar

from pydantic import Field

from distill.records import Pair, Trace
from filters.base import RowFilter

WINDOW = 40  # words
PROBE, STRIDE = 24, 100  # characters
COPIED = 30  # characters in a row that count as copied when the passage has them
LONGEST_WORD = 60  # characters; URLs apart, what is longer is a run of one character or of words without spaces


class Degenerate(RowFilter):
    """Drops repetition loops, sentences said over and over, and the passage copied where reasoning should be.

    The thresholds keep all 5,624 readable reasons of TFRank, GPT-4 and six DIRAS models (docs/filters.md): the worst of
    those repeat 4.6 % of their text in whole sentences, copy a third of it from the passage, and shrink to 0.345 of
    their size (zlib).
    """

    compares: ClassVar[bool] = True
    max_repeated: float = Field(0.15, gt=0, le=1, description="share of the text that is sentences said before")
    min_distinct: float = Field(0.35, ge=0, lt=1, description=f"different words among any {WINDOW} in a row")
    max_copied: float = Field(0.6, gt=0, le=1, description="share of the text that the passage has word for word")
    min_compressed: float = Field(0.22, ge=0, lt=1, description="zlib size over size, of texts above 120 words")

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """What is repeated, or that it is a copy."""
        text = trace.reasoning
        copied = _copied(text, pair.passage, self.max_copied)
        if copied or not _suspicious(text):
            return copied
        words = text.split()
        return (
            _repeated(text, self.max_repeated)
            or _looping(text, words, self.min_distinct)
            or _squashed(text, words, self.min_compressed)
        )


def _suspicious(text: str) -> bool:
    """Whether some piece of the text is in it three times, or an eighth of it twice: most texts are done here.

    A piece is looked for only in what follows it, which is half the work.
    """
    size = len(text)
    again = 0
    for start in range(0, size - PROBE, STRIDE):
        probe = text[start : start + PROBE]
        if text.find(probe, start + 1) < 0:
            continue
        if text.count(probe) > 2:
            return True
        again += 1
    return again * STRIDE * 16 > size or (size > PROBE and text.find(text[-PROBE:]) < size - PROBE)


def _repeated(text: str, most: float) -> str | None:
    sentences = text.replace("\n", ". ").split(". ")
    if len(sentences) == len(set(sentences)):
        return None
    seen: set[str] = set()
    again = 0
    for sentence in sentences:
        if len(sentence) > 12:
            again += len(sentence) * (sentence in seen)
            seen.add(sentence)
    return "the same sentences are said again and again" if again > most * len(text) else None


def _looping(text: str, words: list[str], least: float) -> str | None:
    if len(words) * 12 < len(text) and not text.isascii():  # a script without spaces
        words = [text[i : i + 2] for i in range(len(text) - 1)]
    elif max(map(len, words)) > LONGEST_WORD and any(_run(word) for word in words if len(word) > LONGEST_WORD):
        return "one character or syllable runs on and on"
    size = len(words)
    if size < WINDOW // 2:
        return None
    for end in range(size, min(WINDOW, size) - 1, -WINDOW):  # from the end, where loops are
        if len(set(words[max(0, end - WINDOW) : end])) < least * min(WINDOW, size):
            return "the same few words run in a loop"
    return None


def _run(word: str) -> bool:
    return len(word) / len(zlib.compress(word.encode(), 1)) > 2


def _copied(text: str, passage: str, most: float) -> str | None:
    size = len(text) - COPIED
    if size < 4 * COPIED:
        return None
    for i in range(0, size, size // 4):  # five looks tell most texts
        if text[i : i + COPIED] in passage:
            break
    else:
        return None
    starts = range(0, size, 10)
    copied = sum(text[i : i + COPIED] in passage for i in starts)
    return "the passage is copied instead of reasoned about" if copied > most * len(starts) else None


def _squashed(text: str, words: list[str], least: float) -> str | None:
    if len(words) < 120 or len(set(words)) * 5 > len(words) * 2:  # cheap: texts that repeat themselves repeat words
        return None
    raw = text.encode()
    return "the text repeats itself" if len(zlib.compress(raw, 6)) < least * len(raw) else None
