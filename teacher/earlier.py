"""Takes the answers of another run's journal over, so that a run which refreshes it pays for none of them again.

Called by `distill.pipeline.refresh` before the first stage.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from teacher.journal import Journal, encode
from teacher.session import Session
from teacher.settings import TeacherSettings

BLOCK = 500  # entries written together


def take_over(place: str | Path, settings: TeacherSettings, folder: Path) -> int:
    """Copy the answers of the journal at `place` that the one of `folder` lacks; returns how many there were.

    Bills and failures are not copied: what failed there is asked anew. What is copied is marked, and counts in no
    budget. Killed and called again, it goes on. Raises RunFolderError while another session has `folder`'s journal.
    """
    copied = 0
    with (
        Session(settings, folder, stage="pairs") as session,
        closing(Journal(place, folder / ".earlier", writes=False)) as before,
    ):
        for part in before.parts:
            block: dict[str, bytes] = {}
            for _, entry in before.entries(part):
                key = entry.answer.request_id
                if entry.bill is None and entry.answer.error is None and not session.index.has(key, retry_failed=True):
                    block.setdefault(key, encode(replace(entry, earlier=True)))
                if len(block) >= BLOCK:
                    copied += _copy(session, block)
            copied += _copy(session, block)
    return copied


def _copy(session: Session, block: dict[str, bytes]) -> int:
    count = len(block)
    session.take(list(block.values()))
    block.clear()
    return count
