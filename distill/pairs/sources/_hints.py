"""What an error proposes for a table that is not read as it is: grades for words, names for columns. For `table`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distill.files.rows import Row
from distill.files.values import is_number

_GRADES = {  # of words that label pairs in well-known data
    **{"e": 3, "s": 2, "c": 1, "i": 0, "exact": 3, "substitute": 2, "complement": 1, "irrelevant": 0},
    **{"perfect": 4, "excellent": 3, "good": 2, "fair": 1, "bad": 0, "partially relevant": 1, "highly relevant": 2},
    **{"relevant": 1, "not relevant": 0, "non-relevant": 0, "nonrelevant": 0, "yes": 1, "no": 0, "y": 1, "n": 0},
}
_MOST = 8  # words that are shown
_LONGEST = 60  # characters of a column's name


def grades_for(column: str, words: Sequence[str]) -> str:
    """How to replace the words of a column of labels by grades, with those that are known."""
    shown = [f"{word!r}: {_GRADES.get(word.lower(), '?')}" for word in words[:_MOST]]
    more = ", ..." if len(words) > _MOST else ""
    return f"With pandas: table[{column!r}] = table[{column!r}].map({{{', '.join(shown)}{more}}})"


def of_columns(row: Row, what: str, column: Callable[[Row, str], str | None]) -> str:
    """Why a table may have no column for the query or the passage, `what`; `column` finds the others."""
    hint = ""
    joined = next((mark for mark in ";|" if any(mark in name for name in row)), "")
    if joined:
        hint = f" ({joined!r} separates no columns here)"
    if any(is_number(name) or len(name) > _LONGEST for name in row):
        hint += "; the first line seems to be a row: put the columns' names above it, such as query, passage, label"
    if what != "passage":
        return hint
    if title := column(row, "title"):
        return f"{hint}; where the title is all there is, columns.passage={title}"
    if any(str(value).startswith(("http://", "https://")) for value in row.values()):
        return f"{hint}; a URL is no text: add a column with the page's text"
    if column(row, "clicks"):
        return f"{hint}; clicks label what was shown: add a column with its text"
    return hint
