"""What each filter of a list depends on, as a hash, for the cache; and which tools a list needs, for the pipeline."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from distill import store
from filters.base import Filter, Tools
from filters.engine.adjudicated import Adjudicated
from filters.settings import FilterSettings, files, make


def keys(settings: FilterSettings, tools: Tools) -> list[str]:
    """One hash a filter of `filters.engine.build.build`: equal where it and all before it would say the same again.

    Hashed are its settings, its tools and the bytes of its file and its rules, of an external one also the modules next
    to its file that it imports.
    """
    before = json.dumps([tools.identity.get("rows"), tools.seed])
    hashes = []
    if tools.decided:
        decided = sorted((*key, decision) for key, decision in tools.decided.items())
        before = store.fingerprint([before, _code(Adjudicated), decided])
        hashes.append(before)
    for name, thresholds in settings.entries():
        made = make(name, thresholds, tools.base)
        code = [_file_hash(path) for path in files(name, thresholds, tools.base)] or _code(type(made))
        before = store.fingerprint(
            [before, name, thresholds, code, {tool: tools.identity.get(tool) for tool in made.uses()}]
        )
        hashes.append(before)
    return hashes


def used(settings: FilterSettings, base: Path) -> set[str]:
    """The tools that the filters of the list need."""
    return {tool for name, thresholds in settings.entries() for tool in make(name, thresholds, base).uses()}


def _code(kind: type[Filter]) -> list[str]:
    """Of the filter's file, and of those with its rules: `_leak_rules.py` of `leak.py`."""
    file = Path(inspect.getfile(kind))
    return [_file_hash(path) for path in (file, *sorted(file.parent.glob(f"_{file.stem}_*.py")))]


def _file_hash(path: Path) -> str:
    return store.file_hash(path) if path.is_file() else ""
