"""How a text becomes terms for BM25 and for splits: stemmed words without stop words, or n-grams of characters.

The language's Snowball stemmer and bm25s's stop words where there are any. Chinese, Japanese and Thai are written
without spaces: runs of their letters become overlapping pairs of characters (as Lucene's CJK analyser does), anything
else in such a text is taken as words.
"""

from __future__ import annotations

import re
from typing import Any

STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish",
    "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
WITHOUT_SPACES = ("ja", "th", "zh")
LANGUAGES = tuple(sorted((*STEMMERS, *WITHOUT_SPACES, "none")))
_STOPPED = ("da", "de", "en", "es", "fr", "it", "nl", "no", "pt", "ru", "sv", "tr")
_WORD = re.compile(r"(?u)\b\w\w+\b")
_GAPLESS = r"\u0e01-\u0e4e\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d"  # Thai, kana, Han
_IS_GAPLESS = re.compile(f"[{_GAPLESS}]")
_RUN = re.compile(  # Han, hiragana, katakana, Thai with its vowel signs, words of anything else
    r"[\u3400-\u9fff\uf900-\ufaff々〆]+|[\u3040-\u309f]+|[\u30a0-\u30ff\uff66-\uff9d]+|[\u0e01-\u0e4e]+"
    rf"|[^\W{_GAPLESS}]+"
)


class Analysis:
    """A callable from text to terms, for one language (ISO 639-1, or "none" for plain words)."""

    def __init__(self, language: str = "en") -> None:
        from bm25s.tokenization import Tokenizer

        self.language = language
        self._stop: frozenset[str] = frozenset(Tokenizer(stopwords=language).stopwords if language in _STOPPED else ())
        self._stems: dict[str, str] = {}
        self._stemmer: Any = None
        if language in STEMMERS:
            import Stemmer

            self._stemmer = Stemmer.Stemmer(STEMMERS[language], 0)

    @property
    def without_spaces(self) -> bool:
        """Whether its terms are n-grams of characters."""
        return self.language in WITHOUT_SPACES

    def stem(self, word: str) -> str:
        """A word's stem, stop words' too; the word itself in a language without a stemmer."""
        return str(self._stemmer.stemWord(word)) if self._stemmer else word

    def __call__(self, text: str) -> list[str]:
        """The terms in order, as often as the text has them."""
        if self.without_spaces:
            return _pairs_of_characters(text)
        stems, terms = self._stems, []
        for word in _WORD.findall(text.lower()):
            stem = stems.get(word)
            if stem is None:
                stem = "" if word in self._stop else self.stem(word)
                if len(stems) < 2_000_000:
                    stems[word] = stem
            if stem:
                terms.append(stem)
        return terms


def _pairs_of_characters(text: str) -> list[str]:
    terms = []
    for run in _RUN.findall(text.lower()):
        if _IS_GAPLESS.match(run) and len(run) > 1:
            terms += [run[i : i + 2] for i in range(len(run) - 1)]
        else:
            terms.append(run)
    return terms
