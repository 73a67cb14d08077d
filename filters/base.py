"""The two interfaces of a filter, and what it may be handed.

A row filter looks at one trace: `(pair, trace)` in, None or the reason why not out. A group filter looks at all that
came through the filters before it: rows in, `{(pair_id, sample): reason}` out; a `Pair` instead of a reason
replaces the trace's pair (its label was changed). Whatever it does not name is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from distill.config import Settings
from distill.errors import ConfigError
from distill.records import Ask, Pair, Score, Trace

Row = tuple[Pair, Trace]
Key = tuple[str, int]


class RowFilter(Protocol):
    """One rule about one trace."""

    name: Any

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """None keeps the trace; a sentence that a person understands puts it out."""


class GroupFilter(Protocol):
    """One rule about many traces. It may go through `rows` once, and holds what it must, not the rows."""

    name: Any

    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """{(pair_id, sample): reason or changed pair}."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a filter may need from other rooms; the pipeline hands it over.

    `score` judges pairs with a student of an earlier round; `ask` asks the teacher; `row_tokens` says how many tokens
    of the student a trace's training row has; `held_out` gives, by evaluation set, the texts that training must not see
    (read once); `decided` are the decisions of the trace viewer, {(pair_id, sample): {action, label, note, time}};
    `base` is the folder that paths of the configuration are relative to; `out` is where a filter may write.

    `identity` says of each tool what it is made of (a hash by the tool's name) and of `rows` which pairs and traces are
    filtered: what was said with other tools of other rows is not taken over (`filters.engine.cache`).
    """

    score: Score | None = None
    ask: Ask | None = None
    row_tokens: Callable[[Pair, Trace], int] | None = None
    held_out: Mapping[str, Iterable[str]] = field(default_factory=dict)
    decided: Mapping[Key, Mapping[str, Any]] = field(default_factory=dict)
    base: Path = Path()
    out: Path | None = None
    seed: int = 0
    identity: Mapping[str, str] = field(default_factory=dict)


class Rule(Settings):
    """Base of our own filters: thresholds are fields, checked when the configuration is read.

    One that needs a tool overrides `bind` and returns a filter that holds it, and names the tool in `uses`; `group`
    says which interface it has.
    """

    name: ClassVar[str]
    group: ClassVar[bool] = False

    def bind(self, tools: Tools) -> Any:
        """The filter with its tools. Raises ConfigError where one is missing."""
        return self

    def uses(self) -> tuple[str, ...]:
        """The tools that decide what it says, by their names in `Tools`."""
        return ()


def need(tool: Any, name: str, remedy: str) -> Any:
    """The tool; raises ConfigError naming the filter and the remedy where it was not handed over."""
    if not tool:
        raise ConfigError(f"filters.{name} {remedy}")
    return tool
