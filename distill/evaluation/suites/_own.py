"""What an external kind of evaluation set gives, looked at before anything is judged. Called by `suites`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from numbers import Real
from pathlib import Path
from reprlib import repr as short

from distill.errors import PluginError
from distill.evaluation.suites.base import OWN_LISTS, Extra, Layout, Suite
from distill.files.rows import files_below
from distill.files.runs import Rankings
from distill.plugins import faulty, is_own, shown

_EXTRA = "give {measure: {unit: number}}, such as {'words@1': {'q1': 3.0}}"


def watched_files(layout: Layout, folder: Path, split: str) -> list[Path]:
    """The files that the layout names, then all others there. Raises PluginError where a named one is missing."""
    files = layout.files(folder, split)
    for path in files:
        if is_own(type(layout)) and path.name != OWN_LISTS and not path.exists():
            raise faulty(layout, "read", f"no such file {path}", "mend `names`, or add the file")
    return [*files, *(path for path in files_below(folder) if path not in files)]


def checked(layout: Layout, suite: Suite) -> Suite:
    """The suite, `extra` checked when it is called. Raises PluginError for a field of another form or an unknown id."""
    if not (fault := _texts(suite) or _grades(suite) or _lists(suite)):
        extra = suite.extra
        return suite if extra is None else replace(suite, extra=_checked_extra(layout, extra))
    raise faulty(layout, "read", f"the Suite's {fault[0]}", fault[1])


def _texts(suite: Suite) -> tuple[str, str] | None:
    for name in ("passages", "queries", "instructions"):
        texts: object = getattr(suite, name)
        if not isinstance(texts, Mapping):
            return f"{name} is {shown(texts)}", "give {id: text}"
        for key, text in texts.items():
            if not isinstance(key, str) or not isinstance(text, str):
                return f"{name} has {short(key)}: {short(text)}", "give {id: text}; ids and texts are str"
    return None


def _grades(suite: Suite) -> tuple[str, str] | None:
    remedy = "give {query: {passage: grade}}; a grade is a number"
    if not isinstance(suite.qrels, Mapping):
        return f"qrels is {shown(suite.qrels)}", remedy
    for query, labels in suite.qrels.items():
        if query not in suite.queries:
            return f"qrels has the query {short(query)}, which its queries lack", "name queries of the set only"
        for passage, grade in labels.items() if isinstance(labels, Mapping) else [(labels, None)]:
            if not isinstance(passage, str) or not isinstance(grade, Real):
                return f"qrels has {short(passage)}: {short(grade)} for query {query!r}", remedy
    return None


def _lists(suite: Suite) -> tuple[str, str] | None:
    for name, form, wanted in (("candidates", Sequence, "[passage, ...]"), ("excluded", Set, "frozenset of passages")):
        lists: object = getattr(suite, name)
        if lists is None and name == "candidates":
            continue
        if not isinstance(lists, Mapping):
            return f"{name} is {shown(lists)}", f"give {{query: {wanted}}}"
        for query, passages in lists.items():
            if not isinstance(passages, form) or isinstance(passages, str):
                return f"{name} has {short(passages)} for query {short(query)}", f"give {{query: {wanted}}}"
            for passage in passages:
                if passage not in suite.passages:
                    return (
                        f"{name} names the passage {short(passage)} for query {short(query)}, which its passages lack",
                        "leave out what is not in `texts.passages`",
                    )
        if name == "candidates" and (lacking := [query for query in suite.queries if query not in lists]):
            return f"candidates has no list for query {lacking[0]!r}", "give one to each query"
    return None


def _checked_extra(layout: Layout, extra: Extra) -> Extra:
    if not callable(extra):
        raise faulty(
            layout, "read", f"the Suite's extra is {shown(extra)}", "give a function of {query: {passage: score}}"
        )

    def checked_extra(run: Rankings) -> dict[str, dict[str, float]]:
        measures: object = extra(run)
        for measure, values in measures.items() if isinstance(measures, Mapping) else [("it", measures)]:
            if not isinstance(values, Mapping):
                raise _faulty_extra(layout, f"{short(measures)}")
            for unit, value in values.items():
                if not isinstance(value, Real) or not math.isfinite(value):
                    raise _faulty_extra(layout, f"{short(value)} for {measure!r} of {short(unit)}")
        return measures  # type: ignore[return-value]

    return checked_extra


def _faulty_extra(layout: Layout, fault: str) -> PluginError:
    return faulty(layout, "read", f"the Suite's `extra` returned {fault}", _EXTRA)
