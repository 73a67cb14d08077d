"""What is taken out of a collection before the teacher is asked: empty, giant, foreign and repeated texts, leaks.

Called by `distill.pairs.builder`; its comparison of texts also by the miner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Collection as Several
from functools import lru_cache

from distill.disk_map import sorted_items, sorted_keys
from distill.errors import ConfigError
from distill.files.language import identified
from distill.overlap import HeldOutTexts
from distill.pairs.collection import Collection
from distill.pairs.settings import CleanSettings
from distill.text_file import TextFile
from distill.texts import normalised

CERTAIN = 0.7  # how sure the identifier must be of another language before a text goes
KNOWN = 20_000  # texts whose comparison with held-out ones is kept
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
        passages = data.passages

        def texts() -> Iterator[tuple[str, str]]:
            for key, text in sorted_items(passages):
                if reason := fault(text, settings):
                    self.bad[key] = reason
                else:
                    yield key, normalised(text)

        for group in of_one_text(texts(), lambda key: normalised(passages[key])):
            self.first_of.update(dict.fromkeys(group[1:], group[0]))
            self.text_of.update(dict.fromkeys(group, group[0]))
        if settings.near_duplicates is not None:
            from distill.minhash import near_duplicates

            names = [key for key in sorted_keys(passages) if key not in self.bad and key not in self.first_of]
            twins = near_duplicates((passages[key] for key in names), settings.near_duplicates)
            self.first_of.update({names[later]: names[first] for later, first in twins.items()})
            self.first_of = {k: self.first_of.get(v, v) for k, v in self.first_of.items()}

    def counts(self) -> dict[str, int]:
        """Passages left out, by reason."""
        reasons = Counter(self.bad.values())
        return {**reasons, "repeated": len(self.first_of)}

    def same(self, doc_id: str) -> str:
        """The first passage of this one's text: itself, or the one that it repeats."""
        return self.first_of.get(doc_id, doc_id)


def of_one_text(texts: Iterable[tuple[str, str]], text_of: Callable[[str], str]) -> list[list[str]]:
    """Of (key, text) the keys that share a text, in their order, each group of two and more.

    `text_of` gives a key's text once more. In memory are 16 bytes a key, and the keys of texts that are there twice.
    """
    import numpy as np

    keys = TextFile()

    def hashed() -> Iterator[int]:
        for key, text in texts:
            keys.append(key)
            yield hash(text)

    hashes = np.fromiter(hashed(), np.int64)
    there, counts = np.unique(hashes, return_counts=True)
    keys.flush()
    groups: dict[str, list[str]] = {}
    for place in np.flatnonzero(np.isin(hashes, there[counts > 1])).tolist():
        groups.setdefault(text_of(keys[place]), []).append(keys[place])
    return [group for group in groups.values() if len(group) > 1]


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
    """Whether a held-out set has a query or a passage, copied or lightly edited."""

    def __init__(self, held_out: Mapping[str, Several[str] | Iterable[str]], wanted: bool | list[str]) -> None:
        """Raises ConfigError for the name of a set that there is not."""
        names = list(held_out) if wanted is True else list(wanted or ())
        for name in names:
            if name not in held_out:
                known = ", ".join(held_out) or "no evaluation set"
                raise ConfigError(f"pairs.clean.decontaminate: {name!r} is not known; there is {known}")
        if wanted and not names:
            raise ConfigError("pairs.clean.decontaminate: there is no evaluation set to compare with")
        texts = HeldOutTexts({name: held_out[name] for name in names}) if names else None
        self._twin = lru_cache(maxsize=KNOWN)(texts.twin) if texts else None

    def __call__(self, text: str) -> str | None:
        """The set and the beginning of its text that this one copies."""
        return None if self._twin is None else self._twin(text)
