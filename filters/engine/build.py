"""Makes the filters that a list names and calls them; the engine's other modules get them from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from reprlib import repr as short
from typing import TYPE_CHECKING, get_args

from distill.errors import DistillError, PluginError
from distill.plugins import faulty, raised
from distill.records import Pair, Trace
from distill.tables import counted
from filters.base import Filter, GroupFilter, Key, Row, RowFilter, ToolName, Tools
from filters.engine.adjudicated import Adjudicated
from filters.settings import FilterSettings, make

if TYPE_CHECKING:
    import pyarrow as pa


def build(settings: FilterSettings, tools: Tools) -> list[RowFilter | GroupFilter]:
    """The prepared filters of the list; before them, where there are any, a person's decisions.

    Raises ConfigError where a tool is missing.
    """
    listed = [prepare(make(name, thresholds, tools.base), tools) for name, thresholds in settings.entries()]
    return [prepare(Adjudicated(), tools), *listed] if tools.decided else listed


def prepare(made: Filter, tools: Tools) -> RowFilter | GroupFilter:
    """The filter with the tools that it uses. Raises ConfigError where one is missing."""
    try:
        prepared = made.prepare(tools.only(made.uses()))
    except Exception as error:
        raise failure(made, error) from None
    if not isinstance(prepared, RowFilter | GroupFilter):
        raise faulty_filter(made, "prepare", f"prepare returned {prepared!r}", "end it with `return self`")
    return prepared


def reason_of(
    row_filter: RowFilter, pair: Pair, trace: Trace, as_sent: Callable[[Pair], Pair] | None = None
) -> str | None:
    """What a row filter says of one trace. Raises PluginError where that is no reason, or an external one raises."""
    if as_sent is not None and row_filter.compares:
        pair = as_sent(pair)
    try:
        reason = row_filter(pair, trace)
    except Exception as error:
        raise failure(row_filter, error, trace) from None
    return None if reason is None else checked_reason(row_filter, reason, trace)


def checked_reason(asked: Filter, reason: object, trace: Trace) -> str:
    """The reason. Raises PluginError where it is none, such as True or False, with what to return instead."""
    if isinstance(reason, str) and reason.strip():
        return reason
    keep = "leave out what is kept" if isinstance(asked, GroupFilter) else "return None to keep a trace"
    fault = f"returned {reason!r} for {_place(trace)}"
    raise faulty_filter(asked, "__call__", fault, f"{keep}, or a sentence that says why to reject it")


def looks_at(row_filter: RowFilter, reasoning: pa.ChunkedArray) -> Sequence[bool] | None:
    """What `prefilter` says of a column. Raises PluginError where that is not one value for each text."""
    try:
        looks = row_filter.prefilter(reasoning)
    except Exception as error:
        raise failure(row_filter, error) from None
    if looks is None or (isinstance(looks, Sized) and len(looks) == len(reasoning)):
        return looks
    fault = f"`prefilter` returned {short(looks)} for {counted(len(reasoning), 'text')}"
    raise faulty_filter(row_filter, "prefilter", fault, "return a bool for each of them, or None to look at all")


def check_lists(made: Filter) -> None:
    """Raise PluginError where `uses` names an unknown tool, or `reads` is no tuple of paths."""
    known = get_args(ToolName)
    for method, names, allowed in (
        ("uses", made.uses(), f"of {', '.join(known)}"),
        ("reads", made.reads(), "of paths"),
    ):
        wrong = not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names)
        if wrong or (method == "uses" and not set(names) <= set(known)):
            raise faulty_filter(made, method, f"`{method}` returned {names!r}", f"return a tuple {allowed}, or ()")


def outcomes_of(group_filter: GroupFilter, rows: Iterable[Row]) -> dict[Key, str | Pair]:
    """What a group filter says of all rows. Raises PluginError where that is no mapping of reasons and pairs."""
    trace: Trace | None = None

    def passed_on() -> Iterable[Row]:
        nonlocal trace
        for row in rows:
            trace = row[1]
            yield row

    try:
        outcomes: object = group_filter(passed_on())
    except Exception as error:
        raise failure(group_filter, error, trace) from None
    if not isinstance(outcomes, Mapping):
        wanted = "return a dict with (pair_id, sample) of each rejected trace and the reason, {} where all are kept"
        raise faulty_filter(group_filter, "__call__", f"returned {type(outcomes).__name__}", wanted)
    return dict(outcomes)


def checked_pair(asked: Filter, changed: Pair, trace: Trace) -> Pair:
    """The pair that replaces the trace's. Raises PluginError where it is another pair."""
    if changed.pair_id == trace.pair_id:
        return changed
    fault = f"returned another pair for {_place(trace)}"
    raise faulty_filter(asked, "__call__", fault, "return dataclasses.replace(pair, label=...)")


def failure(asked: Filter, error: Exception, trace: Trace | None = None) -> Exception:
    """What to raise for an exception of a filter: for an external one a line with its name, the pair and the cause.

    A built-in one's exception is a fault of this project and stays as it is, with a note.
    """
    place = f" for {_place(trace)}" if trace else ""
    fault = raised(error, f"filters.{asked.name}", place)
    if fault is None and not isinstance(error, DistillError):
        error.add_note(f"in the filter {asked.name}{place}")
    return fault or error


def faulty_filter(asked: Filter, method: str, fault: str, remedy: str) -> PluginError:
    """The error for what a filter's method has returned; see `distill.plugins.faulty`."""
    return faulty(asked, method, fault, remedy, f"filters.{asked.name}")


def _place(trace: Trace) -> str:
    return f"pair {trace.pair_id}, sample {trace.sample}"
