"""Judging within a budget of milliseconds: directly first, then thinking where that is unsure. For the students."""

from __future__ import annotations

import time
from collections.abc import Sequence

from distill.records import UNJUDGED, Judgement, Pair
from distill.rerank.modes import TimedPlans, think_about
from distill.rerank.serve.engine_thread import Busy, EngineThread

WRITE_S = 0.005  # of a budget, to write the answer
LEAST = -1_000.0  # its log-odds: below all that were judged


class Pace:
    """What one student's requests have shown: how late the event loop wakes, and how long a thought takes.

    Lateness is estimated by its mean and deviation, as TCP does with round trips (RFC 6298).
    """

    def __init__(self) -> None:
        self._late_s, self._spread_s = 0.0, 0.004
        self.think_s = 0.0

    @property
    def reserve_s(self) -> float:
        """How long before the end of its budget a request stops waiting for judgements."""
        return WRITE_S + self._late_s + 4 * self._spread_s

    def woke(self, late_s: float) -> None:
        """Take note of how late a request went on."""
        self._spread_s += (abs(late_s - self._late_s) - self._spread_s) / 4
        self._late_s += (late_s - self._late_s) / 8

    def can_think(self, left_s: float) -> bool:
        """Whether a thought may end in the time left. What is given up in its middle only delays others; each refusal
        lowers the estimate, so that it is tried again."""
        if left_s > 0.7 * self.think_s:
            return left_s > 0
        self.think_s *= 0.95
        return False

    def thought(self, seconds: float, ended: bool) -> None:
        """Take note of how long thinking took; not `ended`: no thought came to its end in that time."""
        if ended:
            self.think_s += (seconds - self.think_s) / 4 if self.think_s else seconds
        else:
            self.think_s = max(self.think_s, 1.5 * seconds)


async def judged_within(
    thread: EngineThread, plans: TimedPlans, pairs: Sequence[Pair], client: str, end: float, pace: Pace
) -> list[Judgement]:
    """One judgement a pair by `end` (`time.monotonic`), in the order given; `unjudged` where the time was too short.

    The pairs are read in their order, so that those that the first stage ranked best come first; then those whose
    direct score is unsure are thought about, the best-ranked first, and in time that is left the others, where nobody
    has chosen what is unsure. Raises Busy, EngineFailed and InputError, as `judge` does.
    """
    begin = time.monotonic()
    # However late the last ones were, half of the time is used, so that a late moment passes.
    half = max(0.0, end - begin) / 2
    stop = end - min(pace.reserve_s, half)
    judged = await thread.judge_until(pairs, client, plans.direct, stop - time.monotonic())
    margins = [judgement.margin for judgement in judged if judgement is not None]
    if plans.think is not None and len(margins) == len(pairs):
        unsure = set(think_about(margins, plans.window))
        ranked = sorted(range(len(pairs)), key=lambda at: -margins[at])
        rounds = [[at for at in ranked if at in unsure]]
        rounds += [] if plans.chosen else [[at for at in ranked if at not in unsure]]
        for chosen in filter(None, rounds):
            began = time.monotonic()
            if not pace.can_think(stop - began):
                break
            try:
                thought = await thread.judge_until([pairs[at] for at in chosen], client, plans.think, stop - began)
            except Busy:  # then what was judged directly is the answer
                break
            pace.thought(min(time.monotonic(), stop) - began, any(thought))
            for at, judgement in zip(chosen, thought, strict=True):
                judged[at] = judgement or judged[at]
    if (now := time.monotonic()) > stop:
        pace.woke(now - max(stop, begin))
    elif pace.reserve_s > half:  # all was done before its end, which a late server does not do for long
        pace.woke(0.0)
    return [
        judgement or Judgement(pair.query_id, pair.doc_id, 0.0, LEAST, None, "", UNJUDGED, 0, UNJUDGED)
        for pair, judgement in zip(pairs, judged, strict=True)
    ]
