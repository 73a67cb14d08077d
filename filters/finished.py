"""The filter `finished`, on by default; the engine calls it for each trace."""

from __future__ import annotations

from distill.answers.finish import finish_of
from distill.records import Pair, Trace
from filters.base import RowFilter


class Finished(RowFilter):
    """Drops answers that the token cap or a content filter cut off: their last words, or their verdict, are gone."""

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """The finish reason, where it is not a stop; traces of before hold the server's own word."""
        word = trace.finish_reason
        return None if finish_of(word)[0] == "stop" else f"the answer ended by {word!r}, not by itself"
