"""Parses."""

from __future__ import annotations

from typing import ClassVar

from distill.records import Pair, Trace
from filters.base import Rule


class Parses(Rule):
    """Drops answers without a plain verdict: there is nothing to train towards (`distill.verdicts.parse_verdict`)."""

    name: ClassVar[str] = "parses"

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """What stood where the verdict should."""
        if trace.verdict is not None:
            return None
        return (
            "the answer says neither true nor false"
            if trace.content.strip()
            else "there is no answer after the reasoning"
        )
