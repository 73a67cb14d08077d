"""From a name in the list to the filter: ours, or a class in the user's own file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

from typing_extensions import TypeIs

from distill.config import validate
from distill.errors import ConfigError
from filters.adjudicated import Adjudicated
from filters.base import GroupFilter, RowFilter, Rule, Tools
from filters.settings import KNOWN, FilterSettings


def build(settings: FilterSettings, tools: Tools | None = None) -> list[RowFilter | GroupFilter]:
    """The filters that the settings name, with their tools; before them, where there are any, a person's decisions.

    Raises ConfigError where a tool is missing.
    """
    tools = tools or Tools()
    made = [make(name, thresholds, tools.base) for entry in settings.root for name, thresholds in entry.items()]
    named = [each.bind(tools) if hasattr(each, "bind") else each for each in made]
    return [Adjudicated(tools.decided), *named] if tools.decided else named


def is_group(given: RowFilter | GroupFilter) -> TypeIs[GroupFilter]:
    """Whether it takes `rows` rather than `pair, trace`."""
    if isinstance(given, Rule):
        return given.group
    return len(inspect.signature(given).parameters) == 1


def make(name: str, thresholds: dict[str, Any], base: Path) -> Any:
    """One filter with its thresholds, no tools yet. Raises ConfigError naming the filter and the threshold."""
    if name in KNOWN:
        module, _, kind = KNOWN[name].partition(":")
        return validate(getattr(importlib.import_module(module), kind), thresholds, name)
    return _own(name, thresholds, base)


def _own(name: str, thresholds: dict[str, Any], base: Path) -> Any:
    file, _, kind = name.rpartition(":")
    path = base / file
    if not path.is_file():
        raise ConfigError(f"{name}: no such file {path}; the path is relative to the configuration's folder")
    spec = importlib.util.spec_from_file_location(f"_own_filters_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{name}: {path} does not run: {type(error).__name__}: {error}") from None
    found = getattr(module, kind, None)
    if found is None:
        there = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise ConfigError(f"{name}: {path} has no class {kind!r}; it has {', '.join(there) or 'none'}")
    try:
        own: Any = validate(found, thresholds, name) if _is_rule(found) else found(**thresholds)
        parameters = len(inspect.signature(own).parameters)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None
    if parameters not in (1, 2):
        raise ConfigError(f"{name}: a filter is called with (pair, trace), or with (rows); {kind} takes {parameters}")
    if not isinstance(getattr(own, "name", None), str):
        own.name = kind
    return own


def _is_rule(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Rule)
