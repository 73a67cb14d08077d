"""What is taken out of a collection before the teacher is asked: empty, giant, foreign and repeated texts, leaks.

Called by `distill.pairs.builder`; its comparison of texts also by the miner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Several
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from distill.errors import ConfigError
from distill.files.language import identified
from distill.overlap import HeldOutTexts
from distill.pairs.collection import Collection
from distill.pairs.settings import CleanSettings
from distill.texts import normalised

CERTAIN = 0.7  # how sure the identifier must be of another language before a text goes
STRETCH = 50  # characters below which a text's language is not identified


class Usable:
    """Which passages may be asked about, and which of them are one text.

    `first_of` maps a passage that repeats another to the first of them (by id), `text_of` both of those
    of one text but for case and punctuation; `bad` holds the reasons of the others.
    """

    def __init__(self, data: Collection, settings: CleanSettings) -> None:
        self.bad: dict[str, str] = {}
        self.first_of: dict[str, str] = {}
        self.text_of: dict[str, str] = {}
        seen: dict[bytes, str] = {}
        names: list[str] = []
        for key in sorted(data.passages):
            text = data.passages[key]
            reason = fault(text, settings)
            if reason:
                self.bad[key] = reason
                continue
            mark = blake2b(normalised(text).encode("utf-8", "replace"), digest_size=16).digest()
            first = seen.setdefault(mark, key)
            if first != key:
                self.first_of[key] = self.text_of[key] = self.text_of[first] = first
            else:
                names.append(key)
        if settings.near_duplicates is not None:
            from distill.minhash import near_duplicates

            twins = near_duplicates((data.passages[key] for key in names), settings.near_duplicates)
            self.first_of.update({names[later]: names[first] for later, first in twins.items()})
            self.first_of = {k: self.first_of.get(v, v) for k, v in self.first_of.items()}

    def counts(self) -> dict[str, int]:
        """Passages left out, by reason."""
        reasons = Counter(self.bad.values())
        return {**reasons, "repeated": len(self.first_of)}

    def same(self, doc_id: str) -> str:
        """The first passage of this one's text: itself, or the one that it repeats."""
        return self.first_of.get(doc_id, doc_id)


def fault(text: str, settings: CleanSettings) -> str | None:
    """`empty`, `too long` or `language`: why a text is left out; None where it is not."""
    if not text.strip():
        return "empty"
    if settings.max_words is not None and len(text) > settings.max_words and len(text.split()) > settings.max_words:
        return "too long"
    if settings.languages and len(text) >= STRETCH:
        code, sure = identified(" ".join(text[:2000].split()))
        if sure >= CERTAIN and code not in settings.languages:
            return "language"
    return None


def word_grams(text: str) -> frozenset[tuple[str, ...]]:
    """The 5-grams of words of a text, or all its words where it has fewer."""
    words = normalised(text).split()
    if len(words) <= 5:
        return frozenset({tuple(words)})
    return frozenset(zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))


def nearly_equal(text: str, others: Iterable[frozenset[tuple[str, ...]]], similarity: float = 0.8) -> bool:
    """Whether the text shares so much of its 5-grams (Jaccard) with one of the others."""
    own = word_grams(text)
    return any(len(own & other) >= similarity * len(own | other) for other in others)


class Leaks:
    """Whether a held-out set has a query or a passage, copied or lightly edited; every text is compared once."""

    def __init__(self, held_out: Mapping[str, Several[str] | Iterable[str]], wanted: bool | list[str]) -> None:
        """Raises ConfigError for the name of a set that there is not."""
        names = list(held_out) if wanted is True else list(wanted or ())
        for name in names:
            if name not in held_out:
                known = ", ".join(held_out) or "no evaluation set"
                raise ConfigError(f"pairs.clean.decontaminate: {name!r} is not known; there is {known}")
        if wanted and not names:
            raise ConfigError("pairs.clean.decontaminate: there is no evaluation set to compare with")
        self._texts = HeldOutTexts({name: held_out[name] for name in names}) if names else None
        self._known: dict[str, str | None] = {}

    def __call__(self, text: str) -> str | None:
        """The set and the beginning of its text that this one copies."""
        if self._texts is None:
            return None
        if text not in self._known:
            self._known[text] = self._texts.twin(text)
        return self._known[text]
