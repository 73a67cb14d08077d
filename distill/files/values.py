"""What a value in a row means as a label, an id or a text: the one rule of every reader of rows, qrels and texts."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from difflib import get_close_matches

from distill.errors import DataError
from distill.texts import clean_text

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LARGEST = 2**31 - 1  # of a label: what trec_eval's and Parquet's columns hold
_EXACT = 2**53  # from here on whole numbers differ that are one as decimals
_PLAIN = str.maketrans("- ", "__")
_NO_LABEL = frozenset(("na", "n/a", "nan", "none", "null", "<na>"))  # what pandas, R and SQL write for no value


def is_missing(value: object) -> bool:
    """Whether a value says nothing: null, NaN (so pandas writes what is missing), or a text that shows nothing."""
    if isinstance(value, str):
        return not clean_text(value)
    return value is None or value != value


def is_no_label(value: object) -> bool:
    """Whether a label says that nobody judged: a missing value, or a word for one. In texts and ids they are words."""
    return is_missing(value) or (isinstance(value, str) and value.strip().lower() in _NO_LABEL)


def is_number(text: str) -> bool:
    """Whether a text is a number, as labels are written."""
    return _NUMBER.fullmatch(text.strip()) is not None


def gain_of(value: object, where: str) -> float:
    """A label as a number, an int where it is whole: 1, 1.0, "1" and "1.0" are 1; true and false are 1 and 0.

    Raises DataError naming the place for any other word, NaN, infinity, and numbers beyond 32 bits.
    """
    if type(value) is str and len(value) < 9 and value.isascii() and value.isdecimal():  # nearly all
        return int(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return int(value.strip().lower() == "true")
    text = str(int(value)) if isinstance(value, bool) else _shown(value)
    if is_no_label(text):
        raise DataError(f"{where}: the label {text!r} is not an integer: nobody judged; take the row out")
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    if not abs(number) <= _LARGEST:
        kind = "not an integer of 32 bits" if _NUMBER.fullmatch(text) else "not an integer"
        raise DataError(f"{where}: the label {_short(text)!r} is {kind}; write a whole number, such as 1 or 0")
    return int(number) if number.is_integer() else number


def grade_of(value: object, where: str) -> int:
    """A label as an integer. Raises DataError as `gain_of` does, and for a decimal one."""
    number = gain_of(value, where)
    if isinstance(number, float):
        raise DataError(f"{where}: the label {_short(_shown(value))!r} is not an integer; round or scale the labels")
    return number


def id_of(value: object, where: str) -> str | None:
    """An id without white space at its ends, 1 and 1.0 as "1"; None where the value is missing.

    Raises DataError naming the place for true, false, bytes, lists, objects and decimals above 2**53.
    """
    if type(value) is str:
        return clean_text(value) or None
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _EXACT:
            raise DataError(f"{where}: the id {value!r} is a decimal that has lost digits; write ids as texts")
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: an id is a text or a number; this is a {type(value).__name__}")
    return clean_text(str(value))


def similar_id(key: str, ids: Container[str]) -> str | None:
    """One of the ids that is `key` but for case, zeros before a number, or ".0" after it; None where none is."""
    whole = key.removesuffix(".0")
    forms = (
        whole,
        f"{whole}.0",
        whole.lstrip("0"),
        *(whole.zfill(size) for size in (2, 3, 4)),
        key.lower(),
        key.upper(),
    )
    return next((form for form in forms if form and form != key and form in ids), None)


def check_forms(ids: Collection[str], where: str) -> None:
    """Raise DataError where an id is there in two forms, 1 and 1.0: pandas and Excel write such decimals."""
    for key in ids:
        if key.endswith(".0") and key[:-2] in ids:
            raise DataError(
                f"{where}: holds the ids {key[:-2]!r} and {key!r}; write one id alike in every row and file"
            )


def plain_name(name: str) -> str:
    """A column's name as names are compared: case, "-", " " and "_" do not count."""
    return name.strip().lower().translate(_PLAIN)


def nearest(name: str, names: Iterable[str]) -> str:
    """For an error: " (nearest is 'train')", where one of the names is like it; else ""."""
    plain = {plain_name(other): other for other in names}
    similar = get_close_matches(plain_name(name), plain, 1)
    return f" (nearest is {plain[similar[0]]!r})" if similar else ""


def text_of(value: object, where: str, name: str = "text") -> str:
    """A text, made `distill.texts.clean_text`. Raises DataError as `raw_text` does."""
    return clean_text(raw_text(value, where, name))


def raw_text(value: object, where: str, name: str = "text") -> str:
    """A text as it is, for `clean_text` or `passage_text`; null and NaN are an empty one, bytes are read as UTF-8.

    Raises DataError naming the place for numbers, true, false, lists and objects, which somebody's program made of
    what was a text, and for bytes that are not UTF-8.
    """
    if type(value) is str:
        return value
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: {name} is bytes that are not UTF-8 (byte {error.start})") from None
    if not isinstance(value, str):
        shown = f" {_short(str(value))}" if isinstance(value, int | float) else ""
        raise DataError(f"{where}: {name} is not a text but a {type(value).__name__}{shown}; write it as a text")
    return value


def keys(row: object) -> str:
    """What a row holds, for an error."""
    if not isinstance(row, Mapping):
        return f"a {type(row).__name__}"
    names = [_short(str(name)) for name in row]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "no keys"


def _shown(value: object) -> str:
    try:
        return str(value).strip()
    except ValueError:  # an integer of more than 4,300 digits
        return "a number of thousands of digits"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
