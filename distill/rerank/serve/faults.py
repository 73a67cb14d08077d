"""Refusals of the server: a status and a sentence, and what is wrong with a field in plain words. For the routes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

TEXT = "a text is wanted"
DOCUMENT = "a text or an object with text is wanted"
NUMBER = "a number is wanted"
WHOLE = "a whole number is wanted"
SWITCH = "true or false is wanted"
WANTED = {  # by field; in lists that of each item
    "query": TEXT,
    "instruction": TEXT,
    "model": TEXT,
    "mode": TEXT,
    "title": TEXT,
    "text": TEXT,
    "texts": TEXT,
    "document": DOCUMENT,
    "documents": DOCUMENT,
    "text_1": TEXT,
    "text_2": DOCUMENT,
    "queries": TEXT,
    "first_stage_score": NUMBER,
    "score_threshold": NUMBER,
    "budget_ms": NUMBER,
    **dict.fromkeys(("top_n", "max_tokens_per_doc", "truncate_prompt_tokens"), WHOLE),
    **dict.fromkeys(("return_documents", "return_reasoning", "raw_scores", "return_text"), SWITCH),
}
LISTS = ("documents", "texts")
TYPES = (
    *("string_type", "model_type", "model_attributes_type", "list_type", "float_type", "float_parsing"),
    *("int_type", "int_parsing", "int_from_float", "bool_type", "bool_parsing"),
)
SHOWN = 3


class Refused(Exception):
    """A request that gets a status and a sentence."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def in_plain_words(error: ValidationError) -> str:
    """What is wrong with the first fields of a body, such as `documents[1] is null; a text or an object with text is
    wanted`."""
    faults: dict[tuple[int | str, ...], ErrorDetails] = {}
    for fault in error.errors():
        place = _place(fault)
        of_same = [key for key in faults if key[: len(place)] == place or place[: len(key)] == key]
        if of_same and len(of_same[0]) >= len(place):
            continue  # of the kinds that a value may have, the one that it comes nearest to speaks
        for key in of_same:
            del faults[key]
        faults[place] = fault
    return "; ".join(_sentence(place, fault) for place, fault in list(faults.items())[:SHOWN])


def _place(fault: ErrorDetails) -> tuple[int | str, ...]:
    """Keys and numbers down to the value, without the names of the kinds that it was tried as."""
    place = [part for part in fault["loc"] if isinstance(part, int) or part in WANTED or not _is_kind(part)]
    return tuple(place)


def _is_kind(part: str) -> bool:
    return part[:1].isupper() or part in ("str", "list", "int", "float", "bool") or "[" in part


def _sentence(place: Sequence[int | str], fault: ErrorDetails) -> str:
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "body"
    named = next((part for part in reversed(place) if isinstance(part, str)), "")
    if fault["type"] == "missing" and len(place) > 1:
        return f"{shown} is missing; {_wanted(place[:-1])}"
    if fault["type"] not in TYPES or (named not in WANTED and named not in LISTS):
        return f"{shown}: {fault['msg']}"
    return f"{shown} is {kind_of(fault['input'])}; {_wanted(place)}"


def _wanted(place: Sequence[int | str]) -> str:
    named = next((part for part in reversed(place) if isinstance(part, str)), "")
    if named in LISTS and isinstance(place[-1], str):
        return f"a list is wanted, each {WANTED[named].replace(' is wanted', '')}"
    return WANTED.get(named, "see /openapi.json")


def kind_of(value: object) -> str:
    """A JSON value's kind, as a sentence names it; numbers and booleans themselves."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else type(value).__name__
