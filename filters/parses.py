"""The filter `parses`, on by default; the engine calls it for each trace."""

from __future__ import annotations

from distill.records import Pair, Trace
from filters.base import RowFilter


class Parses(RowFilter):
    """Drops answers without a plain verdict: there is nothing to train towards (`distill.verdicts.parse_verdict`)."""

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """What the answer holds in place of the verdict."""
        if trace.verdict is not None:
            return None
        has_answer = trace.content.strip()
        return "the answer says neither true nor false" if has_answer else "there is no answer after the reasoning"
