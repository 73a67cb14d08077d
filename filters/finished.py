"""Finished."""

from __future__ import annotations

from typing import ClassVar

from distill.records import Pair, Trace
from filters.base import Rule


class Finished(Rule):
    """Drops answers that the token cap or a content filter cut off: their last words, or their verdict, are gone."""

    name: ClassVar[str] = "finished"

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The finish reason, where it is not a stop."""
        return None if trace.finish_reason == "stop" else f"the answer ended by {trace.finish_reason!r}, not by itself"
