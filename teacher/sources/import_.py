"""`source: import`: traces that exist, matched with the pairs that they are about. Nothing is asked or paid.

A row is matched by its prompt (or its messages), or by query, instruction and passage, or by query and document id;
the rows of one pair are its samples, in the file's order. Each row is counted: matched, a sample more than
`teacher.samples` takes, unmatched, or refused. What does not parse as a verdict is for the filters to reject.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import ClassVar

from distill.answers import JsonObject, JsonValue
from distill.answers.finish import finish_of
from distill.errors import DataError
from distill.inputs import stamps
from distill.prompts import teacher_prompt
from distill.records import Answer, Pair, make_request
from distill.tables import counted
from distill.urls import is_url
from teacher.client import guess_prompt, guess_tokens
from teacher.import_rows import ImportedRow, id_key, import_rows, text_key
from teacher.source_settings import ImportSettings
from teacher.sources.base import TeacherSource

UNMATCHED, TAKEN, BEYOND = 0, 1, 2  # what became of a row
SHOWN = 40  # characters of two texts that differ
NEAREST_OF = 2000  # pairs without a trace that an unmatched row is compared with


class Import(TeacherSource):
    """The traces of `teacher.import.path`."""

    asks: ClassVar[bool] = False

    @property
    def _named(self) -> ImportSettings:
        if self.settings.import_ is None:
            raise ValueError("source import needs the key import")
        return self.settings.import_

    def check(self) -> None:
        """Raise ValueError without `teacher.import`."""
        _ = self._named

    def check_files(self) -> None:
        """Raise ConfigError or DataError where the traces' file is not there, or its first row cannot be read."""
        if next(self._rows(), None) is None:
            raise DataError(f"{self._named.path}: holds no trace")

    def identity(self) -> JsonObject:
        """The file's name, and the names, sizes and times of local files, by which a changed one is noticed."""
        return {"import": {**self._named.model_dump(), "files": _stamps(self._named.path)}}

    def imported(self, pairs: Iterable[Pair], scratch: Path) -> Iterator[tuple[Pair, int, Answer | None]]:
        """(pair, sample, answer) for every pair and sample that is there; None for a pair without a trace.

        `scratch` is a file to work with. Afterwards `row_counts` says what became of each row, `notes` why. Raises
        ConfigError (no such file, a column that is not there), DataError (a line that cannot be read, or no row that
        matches a pair).
        """
        self._other_ids = 0  # rows matched by their texts that name other ids than their pairs
        self._first_other: tuple[int, Pair] | None = None  # of these the first: its number and its pair
        scratch.unlink(missing_ok=True)
        base = sqlite3.connect(scratch)
        try:
            base.execute("PRAGMA synchronous=OFF")
            base.execute("CREATE TABLE trace(key TEXT, other TEXT, answer TEXT, used INTEGER DEFAULT 0)")
            base.executemany("INSERT INTO trace(key, other, answer) VALUES (?, ?, ?)", self._stored())
            base.execute("CREATE INDEX by_key ON trace(key)")
            base.execute("CREATE INDEX by_other ON trace(other)")
            without: list[Pair] = []
            for pair in pairs:
                answers = list(self._of_pair(pair, base))
                if not answers and len(without) < NEAREST_OF:
                    without.append(pair)
                yield from answers or [(pair, 0, None)]
            self._count(base, without)
        finally:
            base.close()
            scratch.unlink(missing_ok=True)

    def _rows(self) -> Iterator[ImportedRow]:
        return import_rows(self._named.path, self._named.columns, self.settings.prompt)

    def _stored(self) -> Iterator[tuple[str, str | None, str]]:
        self._refused: Counter[str] = Counter()
        for row in self._rows():
            if row.refused is not None:
                if not self._refused:
                    self.notes.append(f"{row.where}: {row.refused}")
                self._refused[row.refused] += 1
                continue
            answer = json.dumps([row.reasoning, row.content, row.finish_reason, row.model, row.ids, row.p_relevant])
            yield row.keys[0], row.keys[1] if len(row.keys) > 1 else None, answer

    def _of_pair(self, pair: Pair, base: sqlite3.Connection) -> Iterator[tuple[Pair, int, Answer | None]]:
        settings = self.settings
        content = teacher_prompt(pair.query, pair.passage, pair.instruction, settings.prompt, settings.elicit)
        plain = teacher_prompt(pair.query, pair.passage, pair.instruction)  # what a row of texts is keyed by
        keys = (text_key(content), text_key(plain), id_key(pair.query_id, pair.doc_id))
        found = base.execute(
            "SELECT rowid, answer FROM trace WHERE key IN (?, ?, ?) OR other IN (?, ?, ?) ORDER BY rowid", keys * 2
        ).fetchall()
        messages = [{"role": "user", "content": content}]
        for sample, (number, text) in enumerate(found):
            taken = sample < settings.sampled.first
            base.execute("UPDATE trace SET used=? WHERE rowid=? AND used<>1", (TAKEN if taken else BEYOND, number))
            if not taken:
                continue
            reasoning, answer, finish, model, ids, sure = json.loads(text)
            if ids is not None and ids != [pair.query_id, pair.doc_id]:
                self._first_other = self._first_other or (number, pair)
                self._other_ids += 1
            request = make_request(settings.teacher_name, messages, settings.sampling(sample), sample)
            reason, unknown = finish_of(finish)
            yield (
                pair,
                sample,
                Answer(
                    request.request_id,
                    reasoning,
                    answer,
                    reason,
                    guess_prompt(messages),
                    guess_tokens(reasoning + answer),
                    model=model,
                    estimated=True,
                    unknown_finish=unknown,
                    p_relevant=sure,
                ),
            )

    def _accepted(self, number: int) -> ImportedRow:
        """The row of that number, from 1 on, of those that are not refused."""
        return next(islice((row for row in self._rows() if row.refused is None), number - 1, None))

    def _count(self, base: sqlite3.Connection, without: list[Pair]) -> None:
        """Say what became of the rows. Raises DataError where none matches a pair."""
        used = dict(base.execute("SELECT used, count(*) FROM trace GROUP BY used"))
        refused = sum(self._refused.values())
        self.row_counts = {
            "import_rows": sum(used.values()) + refused,
            "import_matched": used.get(TAKEN, 0),
            "import_more_samples": used.get(BEYOND, 0),
            "import_unmatched": used.get(UNMATCHED, 0),
            "import_refused": refused,
        }
        if used.get(UNMATCHED):
            (number,) = base.execute("SELECT min(rowid) FROM trace WHERE used=?", (UNMATCHED,)).fetchone()
            self.notes.append(nearest(self._accepted(number), without))
        if self._first_other:
            number, pair = self._first_other
            row = self._accepted(number)
            self.notes.append(
                f"{counted(self._other_ids, 'row')} matched by text, with other ids than the pair has: {row.where} "
                f"has {', '.join(row.ids or ())} and the texts of query {pair.query_id!r}, passage {pair.doc_id!r}"
            )
        if used.get(BEYOND):
            self.notes.append(
                f"{counted(used[BEYOND], 'row')} with further samples, not taken; teacher.samples says how many are"
            )
        if not used.get(TAKEN):
            count = f"none of its {counted(self.row_counts['import_rows'], 'row')} matches a pair"
            raise DataError(f"{self._named.path}: {count}; {'; '.join(self.notes) or 'it is empty'}")


def _stamps(path: str) -> list[JsonValue]:
    if is_url(path):
        return [[name, stamp] for name, stamp in sorted(stamps(path).items())]
    root = Path(path)
    files = sorted(root.iterdir()) if root.is_dir() else [root] if root.exists() else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def nearest(row: ImportedRow, pairs: Sequence[Pair]) -> str:
    """What an unmatched row is most like among pairs without a trace, and where the two differ."""
    if not pairs:
        return f"{row.where} matches no pair, and each pair has a trace"
    by_ids = row.keys[0] == id_key(*row.text.split(" ", 1)) if " " in row.text else False
    texts = [
        f"{pair.query_id} {pair.doc_id}" if by_ids else teacher_prompt(pair.query, pair.passage, pair.instruction)
        for pair in pairs
    ]
    words = set(row.text.split())
    mine, likeness = " ".join(row.text.split()), [_likeness(row.text, words, text, by_ids) for text in texts]
    best = likeness.index(max(likeness))
    theirs, pair = " ".join(texts[best].split()), pairs[best]
    at = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    start = max(0, at - SHOWN // 2)
    return (
        f"{row.where} matches no pair; the nearest is query {pair.query_id!r}, passage {pair.doc_id!r}: the row has "
        f"{mine[start : at + SHOWN]!r} where the pair has {theirs[start : at + SHOWN]!r}"
    )


def _likeness(text: str, words: set[str], other: str, by_ids: bool) -> float:
    if by_ids:
        return SequenceMatcher(None, text, other, autojunk=False).ratio()
    others = set(other.split())
    return len(words & others) / max(1, len(words | others))
