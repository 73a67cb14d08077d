"""Failures that come before the first answer: held back, since a refusal of everything is no fault of the rows.

For the session and for batch files. Where all rows, or the first 50, fail alike, the asking stops with the server's
reason, and no row is marked as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill.errors import Stopped
from distill.records import JournalEntry
from teacher.faults import remedy_of
from teacher.journal import decode, encode

FIRST, FEWEST = 50, 3  # so many failures are enough; so few rows say nothing about the server
FEW_OF_MANY = 20  # with 20 times as many answers of earlier sessions, failures are the rows' own


class Refusals:
    """Lines of the journal that are not written yet."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.open = True  # no answer has come
        self.held: dict[str, bytes] = {}
        self._kinds: set[str] = set()
        self._reason = ""

    def sift(self, lines: Sequence[bytes]) -> list[bytes]:
        """Those of the lines that are to be journalled now: with the first answer, all that are held come too."""
        now: list[bytes] = []
        for line in lines:
            entry = decode(line)
            assert entry is not None
            if not self.open or entry.bill is not None:
                now.append(line)
            elif entry.answer.error is None:
                now += [*self.release(), line]
            else:
                self.held[entry.answer.request_id] = line
                self._kinds.add(entry.answer.error.split(":")[0])
                self._reason = self._reason or entry.answer.error
        return now

    def release(self) -> list[bytes]:
        """The held lines, which are the rows' own failures."""
        lines, self.held, self.open = list(self.held.values()), {}, False
        return lines

    def alike(self, known: int, all_done: bool) -> bool:
        """Whether everything is refused for one reason. `known`: rows answered before; `all_done`: none is open."""
        enough = len(self.held) >= FIRST or (all_done and len(self.held) >= FEWEST and not known)
        return enough and len(self._kinds) == 1 and known < FEW_OF_MANY * len(self.held)

    def bills(self) -> list[bytes]:
        """What the held failures have cost, as lines of the journal."""
        entries = [entry for entry in map(decode, self.held.values()) if entry and entry.answer.prompt_tokens]
        return [encode(_bill(entry)) for entry in entries]

    def stopped(self) -> Stopped:
        """The error to raise."""
        kind = next(iter(self._kinds))
        return Stopped(
            f"teacher: the first {len(self.held)} requests have all failed alike: {self._reason}; "
            f"{remedy_of(kind, self._model)}; no row is marked as failed: run the same command again afterwards"
        )


def _bill(entry: JournalEntry) -> JournalEntry:
    return replace(entry, bill=str(entry.answer.error).split(":")[0])
