"""Where in the journal each answer lies, and which pair and sample waits for it: a scratch SQLite file.

It is made anew from the journal by every session and may be deleted at any time. It is there so that memory stays
flat, however many pairs: 10 million ids in Python's own dictionaries are gigabytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill.records import Answer
from teacher.journal import Journal

_TABLES = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-1000;
CREATE TABLE said(id TEXT PRIMARY KEY, part INTEGER, offset INTEGER, length INTEGER, failed INTEGER) WITHOUT ROWID;
CREATE TABLE due(pair TEXT, sample INTEGER, id TEXT, note TEXT, PRIMARY KEY(pair, sample)) WITHOUT ROWID;
CREATE TABLE bill(id TEXT PRIMARY KEY, usd REAL, prompt INTEGER, completion INTEGER) WITHOUT ROWID;
"""


TRACE: Literal["trace"] = "trace"  # on whose account a line goes that names no stage


@dataclass(slots=True)
class Spent:
    """What was billed, unusable answers included."""

    usd: float = 0.0
    tokens: int = 0


class Index:
    """The journal's index and ledger. `scratch` is a local path, replaced."""

    def __init__(self, journal: Journal, scratch: Path) -> None:
        self.journal = journal
        scratch.parent.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        self._db = sqlite3.connect(scratch, isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        self._parts: list[str] = []
        self._spent: dict[str | None, Spent] = {None: Spent()}
        self.unusable_usd, self.unusable_tokens = 0.0, 0
        self._answers, self._output, self._seconds = 0, 0, 0.0
        for part in journal.parts:
            for offset, length, line in journal.lines(part):
                self.add((part, offset, length), line)

    def add(self, place: tuple[str, int, int], line: dict[str, Any]) -> None:
        """Take in one line of the journal: an answer, or a bill. The first answer to a request stays."""
        usd, prompt, completion = (
            line.get("cost_usd", 0.0),
            line.get("prompt_tokens", 0),
            line.get("completion_tokens", 0),
        )
        for account in (None, line.get("stage", TRACE)):
            spent = self._spent.setdefault(account, Spent())
            spent.usd, spent.tokens = spent.usd + usd, spent.tokens + prompt + completion
        if "bill" in line:
            self._waste(line["bill"], usd, prompt, completion)
            return
        key, failed = line["id"], int(line.get("error") is not None)
        values = (self._number(place[0]), place[1], place[2], failed)
        known = self._db.execute("SELECT failed FROM said WHERE id=?", (key,)).fetchone()
        if known is None:
            self._db.execute("INSERT INTO said VALUES (?,?,?,?,?)", (key, *values))
        elif known[0]:  # asked again after a failure: the later word counts
            self._db.execute("UPDATE said SET part=?, offset=?, length=?, failed=? WHERE id=?", (*values, key))
        else:
            self._waste(line["id"], usd, prompt, completion)
        self._answers += not failed
        self._output += completion
        self._seconds += line.get("latency_s", 0.0)
        if failed:
            self.unusable_usd += usd
            self.unusable_tokens += prompt + completion

    @property
    def spent_usd(self) -> float:
        """Dollars billed, whoever asked."""
        return self._spent[None].usd

    @property
    def spent_tokens(self) -> int:
        """Tokens billed, whoever asked."""
        return self._spent[None].tokens

    def spent(self, stage: str | None = None) -> Spent:
        """What was billed to one stage, or in all."""
        return self._spent.get(stage) or Spent()

    def has(self, request_id: str, retry_failed: bool = False) -> bool:
        """Whether the request need not be asked: answered, or failed for good."""
        row = self._db.execute("SELECT failed FROM said WHERE id=?", (request_id,)).fetchone()
        return row is not None and not (retry_failed and row[0])

    def line(self, request_id: str) -> dict[str, Any] | None:
        """The journal's line for a request, unusable attempts' tokens and dollars included."""
        row = self._db.execute("SELECT part, offset, length FROM said WHERE id=?", (request_id,)).fetchone()
        return None if row is None else self._read(request_id, row)

    def means(self) -> dict[str, float] | None:
        """Mean completion tokens and seconds of the journal's answers; None where it has none."""
        if not self._answers:
            return None
        return {"completion_tokens": self._output / self._answers, "latency_s": self._seconds / self._answers}

    def expect(self, rows: Iterable[tuple[str, int, str, str | None]]) -> None:
        """Note that (pair_id, sample) waits for request_id; a note says why it will not be asked."""
        self._db.executemany("INSERT OR REPLACE INTO due VALUES (?,?,?,?)", rows)

    def expected(self) -> Iterator[tuple[str, int, str, str | None, dict[str, Any] | None]]:
        """(pair_id, sample, request_id, note, line) of all that is due, sorted by pair and sample."""
        cursor = self._db.execute(
            "SELECT pair, sample, due.id, note, part, offset, length FROM due LEFT JOIN said ON said.id = due.id "
            "ORDER BY pair, sample"
        )
        for pair, sample, key, note, *place in cursor:
            line = self._read(key, place) if place[0] is not None else None
            yield pair, sample, key, note, line

    def close(self) -> None:
        """Let go of the scratch file."""
        self._db.close()

    def _waste(self, request_id: str, usd: float, prompt: int, completion: int) -> None:
        self.unusable_usd += usd
        self.unusable_tokens += prompt + completion
        self._db.execute(
            "INSERT INTO bill VALUES (?,?,?,?) ON CONFLICT(id) DO UPDATE SET usd=usd+excluded.usd, "
            "prompt=prompt+excluded.prompt, completion=completion+excluded.completion",
            (request_id, usd, prompt, completion),
        )

    def _read(self, key: str, place: tuple[int, int, int]) -> dict[str, Any]:
        line = self.journal.read((self._parts[place[0]], place[1], place[2]))
        bill = self._db.execute("SELECT usd, prompt, completion FROM bill WHERE id=?", (key,)).fetchone()
        if bill:
            line["cost_usd"] += bill[0]
            line["prompt_tokens"] += bill[1]
            line["completion_tokens"] += bill[2]
        return line

    def _number(self, part: str) -> int:
        if not self._parts or self._parts[-1] != part:
            self._parts.append(part)
        return len(self._parts) - 1


def answer_of(line: dict[str, Any], name: str) -> Answer:
    """A journal line as an Answer."""
    return Answer(
        line["id"],
        line.get("reasoning", ""),
        line.get("content", ""),
        line.get("finish_reason", "error" if line.get("error") else "stop"),
        line["prompt_tokens"],
        line["completion_tokens"],
        line["cost_usd"],
        line.get("latency_s", 0.0),
        {"name": name, "model": line.get("model"), "endpoint": line.get("host"), "sampling": line.get("sampling")},
        line.get("error"),
        line.get("estimated", False),
    )
