"""How the asking goes: a bar on a terminal, a line every few seconds without one, and events for the run's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from teacher.session import Session
    from teacher.settings import Endpoint

LINE_S, BAR_S = 5.0, 0.5


class Progress:
    """Tells `notify` (the run's log) and, unless `quiet`, the terminal. `due` is the number of samples, if known."""

    def __init__(
        self,
        notify: Callable[[dict[str, Any]], None] | None,
        due: int | None,
        quiet: bool = False,
        stage: str = "trace",
    ) -> None:
        self._notify, self._due, self._quiet, self._stage = notify, due, quiet, stage
        self._said = 0.0
        self._live: Any = None

    def begin(self, endpoints: list[Endpoint], asking: Session) -> None:
        """Before anything is sent: where the passages go."""
        if endpoints:
            hosts = ", ".join(f"{endpoint.host} ({endpoint.model})" for endpoint in endpoints)
            self.say(f"  passages are sent to {hosts}")
        if asking.known:
            self.say(f"  {asking.known:,} answers are in the journal already")

    def turn(self, asking: Session) -> None:
        """Show how it stands, now and then."""
        now = time.monotonic()
        terminal = sys.stderr.isatty() and not self._quiet
        if now - self._said < (BAR_S if terminal else LINE_S):
            return
        self._said = now
        event = self.state(asking)
        if terminal:
            self._draw(describe(event))
        else:
            self.say("  " + describe(event))
            if self._notify:
                self._notify(event)

    def end(self, asking: Session) -> None:
        """The last word."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._notify:
            self._notify(self.state(asking))

    def state(self, asking: Session) -> dict[str, Any]:
        """Counts, rates and what is left, as an event of the log."""
        seconds = max(time.monotonic() - (asking.started or time.monotonic()), 1e-6)
        done = asking.answered_now + asking.failed_now
        left = None if self._due is None else max(0, self._due - asking.known - done)
        rate = done / seconds
        return {
            "stage": self._stage,
            "event": "progress",
            "answered": asking.known + asking.answered_now,
            "due": self._due,
            "failed": asking.failed_now,
            "unreadable": asking.verdicts.unreadable if asking.verdicts else 0,
            "workers": len(asking.actors.ready) if asking.actors else 0,
            "in_flight": asking.in_flight,
            "window": asking.window,
            "tokens": asking.index.spent_tokens,
            "tokens_per_s": round(asking.tokens_now / seconds, 1),
            "cost_usd": round(asking.index.spent_usd, 4),
            "seconds": round(seconds, 1),
            "seconds_left": None if left is None or rate == 0 else round(left / rate),
            "faults": dict(asking.faults.most_common(5)),
        }

    def say(self, text: str) -> None:
        """One line, unless quiet."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def _draw(self, text: str) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        from rich.text import Text

        self._live.update(Text(text))


def describe(event: dict[str, Any]) -> str:
    """One line for a person."""
    of = f"/{event['due']:,}" if event["due"] else ""
    parts = [
        f"answered {event['answered']:,}{of}",
        f"in flight {event['in_flight']:,}",
        f"failed {event['failed']:,}",
        f"{event['tokens_per_s']:,.0f} tokens/s",
        f"{event['cost_usd']:,.2f} USD",
    ]
    if event["unreadable"]:
        parts.append(f"without a readable verdict {event['unreadable']:,}")
    if event["seconds_left"] is not None:
        parts.append(f"{event['seconds_left']:,} s left")
    if not event["workers"]:
        parts.append("waiting for Ray to place a worker")
    if event["faults"]:
        parts.append("faults: " + ", ".join(f"{kind} {count:,}" for kind, count in event["faults"].items()))
    return "  ".join(parts)
