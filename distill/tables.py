"""Tables and counts as text: Markdown, columns of equal width. Called wherever a table is printed or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
