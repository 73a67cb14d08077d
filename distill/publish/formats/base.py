"""What the formats share: what they report, and JSON lines by split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from distill.publish.rows import Kept, KeptRow, hub_split

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportCounts:
    """What a format wrote: rows by split, how the hub finds them (`configs`) and what columns they have (`info`, where
    the files alone do not say it), and what the card says on using them."""

    rows: dict[str, int]
    configs: list[dict[str, Any]]
    use: str
    left_out: dict[str, int] = field(default_factory=dict)
    info: dict[str, Any] | None = None


class Files(ExitStack):
    """One text file a split, each opened when its first line comes: `head` first, `tail` at the end.

    `rows` counts the lines by split. `pattern`, relative to `folder`, holds `{split}`.
    """

    def __init__(self, folder: Path, pattern: str = "{split}.jsonl", head: str = "", tail: str = "") -> None:
        super().__init__()
        self.rows = Counter[str]()
        self._path, self._head, self._tail = str(folder / pattern), head, tail
        self._open: dict[str, IO[str]] = {}

    def write(self, split: str, line: str) -> None:
        """Append a line to its split's file."""
        if split not in self._open:
            path = Path(self._path.replace("{split}", split))
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._open[split] = self.enter_context(open(path, "w", encoding="utf-8", newline="\n"))
            file.write(self._head)
            self.callback(file.write, self._tail)
        self._open[split].write(line)
        self.rows[split] += 1

    def add(self, split: str, row: Row) -> None:
        """Append a row as a line of JSON."""
        self.write(split, json.dumps(row, ensure_ascii=False) + "\n")


def by_split(kept: Kept, folder: Path, make: Callable[[KeptRow], Row]) -> dict[str, int]:
    """One line a kept row, in a file a split; returns the rows by split."""
    with Files(folder) as lines:
        for row in kept.rows():
            lines.add(hub_split(row.split), make(row))
    return dict(lines.rows)


def config(name: str, splits: Iterable[str], pattern: str, **more: Any) -> dict[str, Any]:
    """A hub configuration; `pattern` holds `{split}`. The first one of a card is its default."""
    files = [{"split": split, "path": pattern.format(split=split)} for split in in_order(splits)]
    return {"config_name": name, "data_files": files, **more}


def in_order(splits: Iterable[str]) -> list[str]:
    """train, validation, test, and then the others by name."""
    first = ["train", "validation", "test"]
    return sorted(splits, key=lambda split: (first.index(split) if split in first else len(first), split))


def asked(row: KeptRow) -> str:
    """Query and instruction as the prompt joins them."""
    return f"{row.query} {row.instruction}" if row.instruction else row.query
