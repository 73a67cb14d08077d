"""The one text of a passage, a query or an instruction: sources, `rerank`, the server and every adapter make it here.

Also, for miners and first stages: when two texts are one, and when a passage is the query itself.

A student is asked with the texts that it was trained with only where both are made alike. `distill.records.make_pair`
applies `clean_text` to all of its texts; `passage_text` joins a title and a text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

OWN_WORDS = 0.8  # the share of a query's words in the passage of its id from which that is the query itself
_WORD = re.compile(r"\w+")
# Marks that mean something: C++ and C#, 5 %, A+ and A-, -1, < 5, x > y and $5 are not C, 5, A, 1, x y. This finds the
# others (of e-mail, 1990-1991, a list's -).
_MEANINGLESS = re.compile(
    r"[-−#<>≤≥$€£¥](?:"
    r"(?<=[-−])(?:(?<=[\w)].)(?:(?<!\b[a-z].)|(?=\w))|(?<![\w)].)(?!\d))"
    r"|(?<=#)(?<!\w#)|(?<=[<>≤≥])(?!\s*\d)(?:(?<!\w\s[<>≤≥])|(?!\s\w))|(?<=[$€£¥])(?!\d))",
    re.S,
)
_HALF_PAIRS = re.compile("[\ud800-\udfff]")
# White space, control characters, and those that Unicode shows as nothing (zero-width spaces, joiners, marks of
# direction, variation selectors, fillers, tags).
_SHOWS_NOTHING = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def clean_text(value: object) -> str:
    """A value as text, without white space at its ends; inside nothing changes. None and NaN are "", and so is a text
    of which nothing can be seen.

    Half a surrogate pair, which JSON can spell and no UTF-8 file can hold, becomes a question mark; so do bytes that
    are no UTF-8. Raises TypeError for numbers, lists, mappings and other objects, as sources do.
    """
    if isinstance(value, str):
        text = value if value.isascii() or not _HALF_PAIRS.search(value) else _HALF_PAIRS.sub("?", value)
        text = text.strip()
        return text if "!" <= text[:1] <= "~" or not _SHOWS_NOTHING.fullmatch(text) else ""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return clean_text(value.decode("utf-8", "replace").replace("\ufffd", "?"))
    raise TypeError(f"a text is expected, this is a {type(value).__name__}; write it as a text")


def passage_text(title: object, text: object) -> str:
    """Title and text as one passage: each made `clean_text`, joined by a space where both hold anything."""
    return f"{clean_text(title)} {clean_text(text)}".strip()


def normalised(text: str) -> str:
    """The text in one spelling: compatibility forms folded, case, spaces and marks that mean nothing gone.

    Letters, digits, vowel signs and marks that belong to them stay (`C++`, `5%`, `A-`, `-1`); of a text without any,
    such as one of emojis, all marks.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.casefold()
    return " ".join(_words().findall(_MEANINGLESS.sub(" ", text)) or text.split())


@cache
def _words() -> re.Pattern[str]:
    """Finds words with the marks that mean something and, of scripts that write vowels as signs, the signs."""
    signs = "".join(chr(code) for code in range(0x300, 0xAC00) if unicodedata.category(chr(code))[0] == "M")
    return re.compile(rf"[\w+%#<>≤≥$€£¥−{signs}-]+")


def is_the_query(query_id: str, query: str, doc_id: str, passage: str) -> bool:
    """Whether a passage is the query itself, as in collections whose queries are passages too (ArguAna, Quora).

    It is where both are one text but for case, punctuation and spaces, or where both have one id and the passage holds
    `OWN_WORDS` of the query's words: ArguAna's passages have a title that its queries lack, and ids that are numbers
    (Cranfield) are equal by chance.
    """
    if query_id == doc_id:
        words = set(normalised(query).split())
        return bool(words) and len(words & set(normalised(passage).split())) >= OWN_WORDS * len(words)
    if query.isascii() and passage.isascii():  # most passages differ in their first word
        first, other = _WORD.search(query), _WORD.search(passage)
        if first is None or other is None or first[0].lower() != other[0].lower():
            return False
    return normalised(query) == normalised(passage) != ""


def first_words(text: str, most: int) -> str:
    """The text up to so many words, its white space as it is."""
    parts = text.split(maxsplit=most)
    return text[: len(text) - len(parts[most])].rstrip() if len(parts) > most else text
