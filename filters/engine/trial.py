"""A filter of one's own on a made-up trace, so that a wrong return is seen before the teacher is paid for.

Called by `filters.settings` when a configuration is read.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from distill.errors import PluginError
from distill.plugins import PROGRAMMING
from distill.records import Pair, Trace, make_pair
from filters.base import Filter, RowFilter, Tools
from filters.engine.build import checked_pair, checked_reason, outcomes_of, prepare, reason_of

PAIR = make_pair(
    "query", "passage", "who wrote the song", "The song is by Anna Holm.", label=1, label_origin="judged", language="en"
)
TRACE = Trace(
    PAIR.pair_id, 0, "trial", "The passage names who wrote the song, so it is relevant.", "true", 1, "stop", 90, 15,
    0.0, 0.1, "{}",
)  # fmt: skip


def try_out(made: Filter, folder: Path) -> None:
    """Raise PluginError for what returns no reason, or has an error of programming; nothing where it needs tools.

    Other errors may be due to the made-up trace: they are left to the real ones.
    """
    if made.uses():
        return
    try:
        with TemporaryDirectory() as out:
            prepared = prepare(made, Tools(base=folder, out=Path(out)))
            if isinstance(prepared, RowFilter):
                reason_of(prepared, PAIR, TRACE)
                return
            for outcome in outcomes_of(prepared, [(PAIR, TRACE)]).values():
                if isinstance(outcome, Pair):
                    checked_pair(prepared, outcome, TRACE)
                else:
                    checked_reason(prepared, outcome, TRACE)
    except PluginError as error:
        if error.__context__ is None or isinstance(error.__context__, PROGRAMMING):
            raise PluginError(f"{error}; seen with a made-up trace, before anything was run") from None
