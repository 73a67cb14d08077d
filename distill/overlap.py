"""Copies of held-out texts, whole or lightly edited, found by the pieces that two texts share.

Texts of 20 words and more are compared by 3-grams of words, shorter ones, such as queries, by 4-grams of letters within
the words that carry meaning; texts without spaces by 4-grams of their letters.
Not covered: paraphrases in other words, and translations.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

LONG = 20  # words
COMMON = 200  # pieces that more held-out texts share say nothing about one of them
_WORD = re.compile(r"\w+")
EMPTY = frozenset(  # words without a meaning of their own
    {"a", "an", "the", "of", "in", "on", "at", "to", "for", "and", "or", "is", "are", "was", "were", "be", "do", "does"}
    | {"did", "what", "which", "who", "how", "when", "where", "why", "with", "by", "from", "it", "this", "that", "as"}
    | {"can", "i", "my", "me", "you", "your", "there", "their", "its", "not", "no"}
)


class HeldOutTexts:
    """The texts of evaluation sets, to be asked whether another text copies one of them.

    A long text is a copy when it shares `overlap` of the pieces of the shorter of the two, a short one when it shares
    `overlap_short` of the pieces of both (Jaccard).
    """

    def __init__(
        self, held_out: Mapping[str, Iterable[str]], overlap: float = 0.5, overlap_short: float = 0.65
    ) -> None:
        self._overlap, self._overlap_short = overlap, overlap_short
        self._texts: list[tuple[str, str, int]] = []  # set, beginning, how many pieces
        self._found_in: defaultdict[int, list[int]] = defaultdict(list)
        for name, texts in held_out.items():
            for text in dict.fromkeys(texts):
                parts = pieces(text)
                for piece in parts:
                    if len(self._found_in[piece]) <= COMMON:
                        self._found_in[piece].append(len(self._texts))
                self._texts.append((name, text[:60], len(parts)))

    def twin(self, text: str) -> str | None:
        """The evaluation set, and the beginning of the held-out text that this one copies; None where it is its own."""
        parts = pieces(text)
        shared: Counter[int] = Counter()
        for piece in parts:
            places = self._found_in.get(piece, ())
            if len(places) <= COMMON:
                shared.update(places)
        long = len(_WORD.findall(text)) >= LONG
        for index, count in shared.most_common(3):
            name, beginning, size = self._texts[index]
            both = len(parts) + size - count
            if count >= (self._overlap * min(len(parts), size) if long else self._overlap_short * both):
                return f"{name!r}: “{beginning}”"
        return None


def pieces(text: str) -> set[int]:
    """Hashes of the text's pieces, the same within one process."""
    words = _WORD.findall(text.lower())
    if len(words) >= LONG:
        return {hash(gram) for gram in zip(words, words[1:], words[2:], strict=False)}
    meaningful = [word for word in words if word not in EMPTY] or words
    return {hash(f" {word} "[i : i + 4]) for word in meaningful for i in range(max(1, len(word) - 1))}
