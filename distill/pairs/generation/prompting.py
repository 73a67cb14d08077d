"""The prompts (files in `prompts/`) and the reading of their answers. No text that fills one can be control tokens."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any

from distill.prompts import as_data
from distill.verdicts import parse_grade

NAMES = (
    "grade", "queries", "instruction", "failing", "alter_instruction", "alter_query", "check_altered",
)  # fmt: skip
_FIELD = re.compile(r"\{(\w+)\}")


@lru_cache(maxsize=len(NAMES))
def template(name: str) -> str:
    """The prompt's text with its fields, as the file has it."""
    return (resources.files("distill.pairs.generation") / "prompts" / f"{name}.txt").read_text(encoding="utf-8").strip()


def hashes(names: tuple[str, ...] = NAMES) -> dict[str, str]:
    """{prompt: the beginning of its SHA-256}: what a manifest says about the prompts that were used."""
    return {name: hashlib.sha256(template(name).encode()).hexdigest()[:16] for name in names}


def filled(name: str, **fields: str | int | None) -> str:
    """The prompt with its fields in place; an absent instruction is "none". Raises KeyError for a missing field."""

    def value(match: re.Match[str]) -> str:
        given = fields[match[1]]
        return "none" if given is None else as_data(str(given))

    return _FIELD.sub(value, template(name))


def read_grade(content: str) -> int | None:
    """The grade from 0 to 3 that an answer names; None where there is none, or several."""
    return parse_grade(content, 3)


def read_json(content: str) -> dict[str, Any] | None:
    """The last JSON object in an answer, fenced or between words; None where there is none."""
    decoder, last, start = json.JSONDecoder(), None, content.find("{")
    while start != -1:
        try:
            value, end = decoder.raw_decode(content, start)
        except (ValueError, RecursionError):
            start = content.find("{", start + 1)
            continue
        last = value if isinstance(value, dict) else last
        start = content.find("{", end)
    return last


def read_text(content: str, key: str, longest: int = 4000) -> str | None:
    """One text of an answer's JSON object, in one line; None where it is missing, empty or longer than it may be."""
    value = (read_json(content) or {}).get(key)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text if 0 < len(text) <= longest else None


def read_texts(content: str, key: str, longest: int = 20_000) -> list[str]:
    """The texts of a list in an answer's JSON object, empty ones left out."""
    values = (read_json(content) or {}).get(key)
    texts = [" ".join(v.split()) for v in values if isinstance(v, str)] if isinstance(values, list) else []
    return [text for text in texts if 0 < len(text) <= longest]
