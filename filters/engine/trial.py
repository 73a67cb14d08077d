"""A filter of one's own on a made-up trace, so that a wrong return is seen before the teacher is paid for.

Called by `filters.settings` when a configuration is read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from distill.errors import PluginError
from distill.plugins import PROGRAMMING
from distill.records import Pair, Trace, make_pair
from filters.base import Filter, GroupFilter, RowFilter, Tools
from filters.engine.build import check_lists, checked_pair, checked_reason, looks_at, outcomes_of, prepare, reason_of

PAIR, INSTRUCTED = (
    make_pair(
        "query", "passage", "who wrote the song", "The song is by Anna Holm.", instruction,
        label=1, label_origin="judged", language="en",
    )
    for instruction in (None, "Find the passage that names the author.")
)  # fmt: skip
TRACE = Trace(
    PAIR.pair_id, 0, "trial", "The passage names who wrote the song, so it is relevant.", "true", 1, "stop", 90, 15,
    0.0, 0.1, "{}",
)  # fmt: skip


def try_out(made: Filter, folder: Path) -> None:
    """Raise PluginError for what returns no reason, or has an error of programming; nothing where it needs tools.

    Other errors, and those of a pair with or without instruction alone, may be due to the made-up trace: they are left
    to the real ones.
    """
    faults = []
    try:
        check_lists(made)
        if made.uses():
            return
        with TemporaryDirectory() as out:
            prepared = prepare(made, Tools(base=folder, out=Path(out)))
            for pair in (PAIR, INSTRUCTED):
                try:
                    _try(prepared, pair, replace(TRACE, pair_id=pair.pair_id))
                except PluginError as error:
                    faults.append(error)
                    if error.__context__ is None:
                        raise
        if len(faults) == 2 and all(isinstance(fault.__context__, PROGRAMMING) for fault in faults):
            raise faults[0]
    except PluginError as error:
        if error.__context__ is None or isinstance(error.__context__, PROGRAMMING):
            raise PluginError(f"{error}; seen with a made-up trace, before anything was run") from None


def _try(prepared: RowFilter | GroupFilter, pair: Pair, trace: Trace) -> None:
    if isinstance(prepared, RowFilter):
        looks_at(prepared, pa.chunked_array([[trace.reasoning]]))
        reason_of(prepared, pair, trace)
        return
    for outcome in outcomes_of(prepared, [(pair, trace)]).values():
        if isinstance(outcome, Pair):
            checked_pair(prepared, outcome, trace)
        else:
            checked_reason(prepared, outcome, trace)
