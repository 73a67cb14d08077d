"""The one text of a passage, a query or an instruction: sources, `rerank`, the server and every adapter make it here.

A student is asked with the texts that it was trained with only where both are made alike. `distill.records.make_pair`
applies `clean_text` to all of its texts; `passage_text` joins a title and a text.
"""

from __future__ import annotations

import re

_HALF_PAIRS = re.compile("[\ud800-\udfff]")


def clean_text(value: object) -> str:
    """A value as text, without white space at its ends; inside nothing changes. None and NaN are "".

    Half a surrogate pair, which JSON can spell and no UTF-8 file can hold, becomes a question mark; so do bytes that
    are no UTF-8. A number is its digits. Raises TypeError for lists, mappings and other objects.
    """
    if isinstance(value, str):
        text = value if value.isascii() or not _HALF_PAIRS.search(value) else _HALF_PAIRS.sub("?", value)
        return text.strip()
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").replace("\ufffd", "?").strip()
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"a text is expected, this is a {type(value).__name__}")


def passage_text(title: object, text: object) -> str:
    """Title and text as one passage: each made `clean_text`, joined by a space where both hold anything."""
    return f"{clean_text(title)} {clean_text(text)}".strip()
