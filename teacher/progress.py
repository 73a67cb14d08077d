"""Shows how asking the teacher goes: a bar on a terminal, else a line every few seconds; events for the run's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from distill.bars import bars
from distill.results import Counts
from distill.tables import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from teacher.endpoint import Endpoint
    from teacher.session import Session

LINE_S, BAR_S = 5.0, 0.5


Notify = Callable[[Counts], None]


class TeacherProgress:
    """Tells `notify` (the run's log) and, unless `quiet`, the terminal. `due` is the number of samples, if known."""

    def __init__(
        self,
        notify: Notify | None,
        due: int | None,
        quiet: bool = False,
        stage: str = "trace",
    ) -> None:
        self._notify, self._due, self._quiet, self._stage = notify, due, quiet, stage
        self._shown = 0.0
        self._bar: Progress | None = None

    def begin(self, endpoints: list[Endpoint], session: Session) -> None:
        """Before anything is sent: where the passages go."""
        if endpoints:
            hosts = ", ".join(f"{endpoint.host} ({endpoint.model})" for endpoint in endpoints)
            self.say(f"  passages are sent to {hosts}")
        if session.known:
            self.say(f"  {counted(session.known, 'answer')} in the journal already")
        if sys.stderr.isatty() and not self._quiet:
            self._draw({**self.state(session), "workers": 0})  # Ray takes seconds to start

    def turn(self, session: Session) -> None:
        """Show the state, every few seconds."""
        now = time.monotonic()
        terminal = sys.stderr.isatty() and not self._quiet
        if now - self._shown < (BAR_S if terminal else LINE_S):
            return
        self._shown = now
        event = self.state(session)
        if terminal:
            self._draw(event)
        else:
            self.say("  " + describe(event))
            if self._notify:
                self._notify(event)

    def end(self, session: Session) -> None:
        """Show the last state."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._notify:
            self._notify(self.state(session))

    def state(self, session: Session) -> Counts:
        """Counts, rates and what is left, as an event of the log."""
        seconds = max(time.monotonic() - (session.started or time.monotonic()), 1e-6)
        done = session.answered_now + session.failed_now
        left = None if self._due is None else max(0, self._due - session.known - done)
        rate = done / seconds
        return {
            "stage": self._stage,
            "event": "progress",
            "answered": session.known + session.answered_now,
            "due": self._due,
            "failed": session.failed_now,
            "unreadable": session.verdicts.unreadable if session.verdicts else 0,
            "workers": len(session.actors.ready) if session.actors else 0,
            "in_flight": session.in_flight,
            "window": session.window,
            "tokens": session.index.spent_tokens,
            "tokens_per_s": round(session.tokens_now / seconds, 1),
            "cost_usd": round(session.index.spent_usd, 4),
            "unpriced_tokens": session.index.unpriced_tokens,
            "seconds": round(seconds, 1),
            "seconds_left": None if left is None or rate == 0 else round(left / rate),
            "faults": dict(session.faults.most_common(5)),
        }

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def _draw(self, event: Counts) -> None:
        if self._bar is None:
            self._bar = bars()
            self._bar.add_task("", total=self._due)
            self._bar.start()
        done = event["answered"]
        assert isinstance(done, int)
        self._bar.update(self._bar.task_ids[0], completed=done, description=describe(event))


def describe(event: Counts) -> str:
    """One line for a person."""
    of = f"/{event['due']:,}" if event["due"] else ""
    parts = [
        f"answered {event['answered']:,}{of}",
        f"in flight {event['in_flight']:,}",
        f"{event['tokens_per_s']:,.0f} tokens/s" if event["in_flight"] else "– tokens/s",
        "cost not known" if event.get("unpriced_tokens") else f"{event['cost_usd']:,.2f} USD",
    ]
    if event["failed"]:
        parts.append(f"failed {event['failed']:,}")
    if event["unreadable"]:
        parts.append(f"without a readable verdict {event['unreadable']:,}")
    if event["seconds_left"] is not None:
        parts.append(f"{event['seconds_left']:,} s left")
    if not event["workers"]:
        parts.insert(0, "waiting for Ray to place a worker")
    faults = event["faults"]
    if isinstance(faults, dict) and faults:
        parts.append("faults: " + ", ".join(f"{kind} {count:,}" for kind, count in faults.items()))
    return "  ".join(parts)
