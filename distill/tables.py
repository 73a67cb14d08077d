"""Tables and counts as text: Markdown, columns of equal width. Called wherever a table is printed or written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_PLURAL = re.compile(r"^((?:\w+ )??)(\w+?)(ies|(?<=sh|ch|ss)es|s)\b")  # of a phrase's first word, or its second


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table of cells that are Markdown (`cell` makes it of a text that may hold a pipe)."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def cell(text: str) -> str:
    """The text as a cell of a pipe table."""
    return text.replace("|", "\\|")


def counted(count: float, noun: str) -> str:
    """A number with its noun: "1 pair", "1,234 pairs", "2 queries", "0.5 GPUs"."""
    count = int(count) if count == int(count) else count
    ends_in_y = noun.endswith("y") and noun[-2:-1] not in "aeiou"
    plural = f"{noun[:-1]}ies" if ends_in_y else f"{noun}{'es' if noun.endswith(('s', 'sh', 'ch', 'x')) else 's'}"
    return f"{count:,} {noun if count == 1 else plural}"


def counted_phrase(count: int, phrase: str) -> str:
    """A number with a phrase that begins in the plural: "2 pairs without a label", "1 pair without a label"."""
    if count == 1:
        phrase = _PLURAL.sub(lambda found: f"{found[1]}{found[2]}{'y' if found[3] == 'ies' else ''}", phrase)
    return f"{count:,} {phrase}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
