"""Judging within a budget of milliseconds: directly first, then thinking where that is unsure. For the routes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from distill.records import Judgement, Pair
from distill.rerank.modes import TimedPlans, think_about
from distill.rerank.serve.engine_thread import Busy, EngineThread

RESERVE_S = 0.02  # of a budget, to write the answer
UNJUDGED = "unjudged"  # the mode of what was not judged in time
LEAST = -1_000.0  # its log-odds: below all that were judged


async def judged_within(
    thread: EngineThread, plans: TimedPlans, pairs: Sequence[Pair], client: str, end: float
) -> list[Judgement]:
    """One judgement a pair by `end` (`time.monotonic`), in the order given; `unjudged` where the time was too short.

    The pairs are read in their order, so that those that the first stage ranked best come first; then those whose
    direct score is unsure are thought about, the best-ranked first. Raises Busy, EngineFailed and InputError, as
    `judge` does.
    """
    judged = await thread.judge_until(pairs, client, plans.direct, end - RESERVE_S - time.monotonic())
    if plans.think is not None:
        direct = [judgement for judgement in judged if judgement is not None]
        if len(direct) == len(pairs):
            margins = [judgement.margin for judgement in direct]
            unsure = sorted(think_about(margins, plans.window), key=lambda at: -margins[at])
            left = end - RESERVE_S - time.monotonic()
            thought: Sequence[Judgement | None] = ()
            with contextlib.suppress(Busy):  # then what was judged directly is the answer
                thought = await thread.judge_until([pairs[at] for at in unsure], client, plans.think, left)
            for at, judgement in zip(unsure, thought, strict=False):
                judged[at] = judgement or judged[at]
    return [
        judgement or Judgement(pair.query_id, pair.doc_id, 0.0, LEAST, None, "", UNJUDGED, 0, UNJUDGED)
        for pair, judgement in zip(pairs, judged, strict=True)
    ]
