"""What each filter of a list depends on, as a hash: its settings, its code, its tools, and all filters before it."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

from filters.adjudicated import Adjudicated
from filters.base import Rule, Tools
from filters.engine.build import make
from filters.settings import FilterSettings

TOOLS = ("score", "ask", "row_tokens", "held_out")


def keys(settings: FilterSettings, tools: Tools) -> list[str]:
    """One hash a filter of `filters.engine.build.build`: equal where it and all before it would say the same again.

    A filter's code is the bytes of its own file. Not covered: what a user's own file imports from elsewhere.
    """
    before = json.dumps([tools.identity.get("rows"), tools.seed])
    found = []
    if tools.decided:
        decided = sorted((*key, each) for key, each in tools.decided.items())
        before = _hash([before, _code(Adjudicated), decided])
        found.append(before)
    for entry in settings.root:
        ((name, thresholds),) = entry.items()
        step = make(name, thresholds, tools.base)
        files = [_bytes(path) for path in FilterSettings.model_construct(root=[entry]).files(tools.base)]
        made_of = {tool: tools.identity.get(tool) for tool in uses(step)}
        before = _hash([before, name, thresholds, files or _code(type(step)), made_of])
        found.append(before)
    return found


def used(settings: FilterSettings, base: Path) -> set[str]:
    """The tools that the filters of the list need."""
    entries = [pair for entry in settings.root for pair in entry.items()]
    return {tool for name, thresholds in entries for tool in uses(make(name, thresholds, base))}


def uses(step: Any) -> tuple[str, ...]:
    """The tools of one filter; a user's own that takes tools may take any."""
    if isinstance(step, Rule):
        return step.uses()
    return TOOLS if hasattr(step, "bind") else ()


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _code(kind: type) -> str:
    return _bytes(Path(inspect.getfile(kind)))


def _bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
