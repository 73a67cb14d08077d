"""Whether a text has begun to repeat itself. Used by the backends, which end such a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Loops = Literal["stop", "run"]
LOOPS = ("stop", "run")
LONGEST = 64  # tokens of the cycle that is repeated, at most
TIMES = 8


def repeats(ids: Sequence[int]) -> bool:
    """Whether `ids` end in one cycle of at most 64 tokens, eight times over; asked after every token."""
    if len(ids) < TIMES:
        return False
    before = ids[-2 : -LONGEST - 2 : -1]  # the tokens before the last, backwards
    cycle = 0
    while True:
        try:
            cycle = before.index(ids[-1], cycle) + 1
        except ValueError:
            return False
        if cycle * TIMES > len(ids):
            return False
        if ids[-cycle * TIMES : -cycle] == ids[-cycle * (TIMES - 1) :]:
            return True
