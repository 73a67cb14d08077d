"""Where in the journal each answer is, and which pair and sample waits for it: a scratch SQLite file of the session.

It is made anew from the journal by every session and may be deleted at any time. It is there so that memory stays
flat, however many pairs: 10 million ids in Python's own dictionaries are gigabytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from distill.records import Answer, JournalEntry
from teacher.journal import Journal, Place

_TABLES = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-1000;
CREATE TABLE answer(id TEXT PRIMARY KEY, part INTEGER, offset INTEGER, length INTEGER, failed INTEGER,
  earlier INTEGER) WITHOUT ROWID;
CREATE TABLE due(pair TEXT, sample INTEGER, id TEXT, note TEXT, PRIMARY KEY(pair, sample)) WITHOUT ROWID;
CREATE TABLE masked(pair TEXT PRIMARY KEY, restores TEXT) WITHOUT ROWID;
CREATE TABLE bill(id TEXT PRIMARY KEY, usd REAL, prompt INTEGER, completion INTEGER) WITHOUT ROWID;
"""


TRACE: Literal["trace"] = "trace"


class Due(NamedTuple):
    """A sample of a pair that has to become a row: its answer, None where there is none, or a note why not.

    `restores` is {placeholder: value} of what was masked in the request and goes back into the answer.
    """

    pair_id: str
    sample: int
    request_id: str
    note: str | None
    answer: Answer | None
    restores: Mapping[str, str] = {}


@dataclass(slots=True)
class Spent:
    """What was billed, unusable answers included; what `unpriced_tokens`, among `tokens`, cost is not known."""

    usd: float = 0.0
    tokens: int = 0
    unpriced_tokens: int = 0
    unusable_usd: float = 0.0
    unusable_tokens: int = 0


def unpriced(spent: Spent) -> dict[str, int]:
    """{"unpriced_tokens": …} for a stage's counts; nothing where the price of all of them is known."""
    return {"unpriced_tokens": spent.unpriced_tokens} if spent.unpriced_tokens else {}


class JournalIndex:
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
        self.preflight_tokens = 0  # of them the preflight's
        self._answers, self._output, self._seconds = 0, 0, 0.0
        self._any_masked = False
        for part in journal.parts:
            for place, entry in journal.entries(part):
                self.add(place, entry)

    def add(self, place: Place, entry: JournalEntry) -> None:
        """Take in one entry of the journal: an answer, or a bill. The first answer to a request stays."""
        answer = entry.answer
        usd, prompt, completion = answer.cost_usd, answer.prompt_tokens, answer.completion_tokens
        accounts = [self._spent.setdefault(name, Spent()) for name in (() if entry.earlier else (None, entry.stage))]
        for spent in accounts:
            spent.usd, spent.tokens = spent.usd + usd, spent.tokens + prompt + completion
            if answer.unpriced:
                spent.unpriced_tokens += prompt + completion
        key, failed = answer.request_id, int(answer.error is not None)
        if entry.bill is not None:
            self.preflight_tokens += prompt + completion if entry.bill == "preflight" else 0
            self._waste(accounts, key, usd, prompt, completion)
            return
        values = (self._number(place.part), place.offset, place.length, failed, int(entry.earlier))
        known = self._db.execute("SELECT failed FROM answer WHERE id=?", (key,)).fetchone()
        if known is None:
            self._db.execute("INSERT INTO answer VALUES (?,?,?,?,?,?)", (key, *values))
        elif known[0]:  # asked again after a failure: the later answer counts
            self._db.execute(
                "UPDATE answer SET part=?, offset=?, length=?, failed=?, earlier=? WHERE id=?", (*values, key)
            )
        elif not entry.earlier:
            self._waste(accounts, key, usd, prompt, completion)
        self._answers += not failed
        self._output += completion
        self._seconds += answer.latency_s
        for spent in accounts if failed else ():
            spent.unusable_usd += usd
            spent.unusable_tokens += prompt + completion

    @property
    def unusable_usd(self) -> float:
        """Dollars billed for what could not be used, whoever asked."""
        return self._spent[None].unusable_usd

    @property
    def spent_usd(self) -> float:
        """Dollars billed, whoever asked."""
        return self._spent[None].usd

    @property
    def unpriced_tokens(self) -> int:
        """Tokens billed, of which nobody knows what they cost."""
        return self._spent[None].unpriced_tokens

    @property
    def spent_tokens(self) -> int:
        """Tokens billed, whoever asked."""
        return self._spent[None].tokens

    def spent(self, stage: str | None = None) -> Spent:
        """What was billed to one stage, or in all."""
        return self._spent.get(stage) or Spent()

    def has(self, request_id: str, retry_failed: bool = False) -> bool:
        """Whether the request need not be asked: answered, or failed for good."""
        row = self._db.execute("SELECT failed FROM answer WHERE id=?", (request_id,)).fetchone()
        return row is not None and not (retry_failed and row[0])

    def answer(self, request_id: str) -> Answer | None:
        """The answer to a request, unusable attempts' tokens and dollars included; None where there is none yet."""
        row = self._db.execute("SELECT part, offset, length FROM answer WHERE id=?", (request_id,)).fetchone()
        return None if row is None else self._read(request_id, row)

    def means(self) -> dict[str, float] | None:
        """Mean completion tokens and seconds of the journal's answers; None where it has none."""
        if not self._answers:
            return None
        return {"completion_tokens": self._output / self._answers, "latency_s": self._seconds / self._answers}

    def expect(self, rows: Iterable[tuple[str, int, str, str | None]]) -> None:
        """Note that (pair_id, sample) waits for request_id; a note says why it will not be asked."""
        self._db.executemany("INSERT OR REPLACE INTO due VALUES (?,?,?,?)", rows)

    def note_masked(self, pair_id: str, restores: Mapping[str, str]) -> None:
        """Note what goes back into the answers about a pair, {placeholder: value}."""
        if restores:
            self._any_masked = True
            self._db.execute("INSERT OR REPLACE INTO masked VALUES (?,?)", (pair_id, json.dumps(restores)))

    def expected(self) -> Iterator[Due]:
        """All that is due, sorted by pair and sample."""
        cursor = self._db.execute(
            "SELECT pair, sample, due.id, note, part, offset, length FROM due LEFT JOIN answer ON answer.id = due.id "
            "ORDER BY pair, sample"
        )
        for pair, sample, key, note, *place in cursor:
            answer = self._read(key, place) if place[0] is not None else None
            yield Due(pair, sample, key, note, answer, self._restores(pair) if self._any_masked else {})

    def _restores(self, pair_id: str) -> Mapping[str, str]:
        row = self._db.execute("SELECT restores FROM masked WHERE pair=?", (pair_id,)).fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    def reused(self) -> int:
        """How many of the samples that wait are answered by what was taken over from an earlier run."""
        query = "SELECT count(*) FROM due JOIN answer ON answer.id = due.id WHERE answer.earlier"
        return int(self._db.execute(query).fetchone()[0])

    def close(self) -> None:
        """Let go of the scratch file."""
        self._db.close()

    def _waste(self, accounts: Iterable[Spent], request_id: str, usd: float, prompt: int, completion: int) -> None:
        for spent in accounts:
            spent.unusable_usd += usd
            spent.unusable_tokens += prompt + completion
        self._db.execute(
            "INSERT INTO bill VALUES (?,?,?,?) ON CONFLICT(id) DO UPDATE SET usd=usd+excluded.usd, "
            "prompt=prompt+excluded.prompt, completion=completion+excluded.completion",
            (request_id, usd, prompt, completion),
        )

    def _read(self, key: str, place: Sequence[int]) -> Answer:
        answer = self.journal.read(Place(self._parts[place[0]], place[1], place[2])).answer
        bill = self._db.execute("SELECT usd, prompt, completion FROM bill WHERE id=?", (key,)).fetchone()
        if bill is None:
            return answer
        return replace(
            answer,
            cost_usd=answer.cost_usd + bill[0],
            prompt_tokens=answer.prompt_tokens + bill[1],
            completion_tokens=answer.completion_tokens + bill[2],
        )

    def _number(self, part: str) -> int:
        if not self._parts or self._parts[-1] != part:
            self._parts.append(part)
        return len(self._parts) - 1
