"""The two base classes of a filter and the tools that one may ask for; each module of `filters/` imports them.

A row filter looks at one trace, a group filter at all traces that the filters before it have kept. A filter's
thresholds are its fields, with their defaults, and are checked when the configuration is read:

    class UnderWords(RowFilter):
        most: int = 100

        def __call__(self, pair, trace):
            return f"{self.most} words or more" if len(trace.reasoning.split()) >= self.most else None
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import JsonValue

from distill.config import Settings
from distill.errors import ConfigError
from distill.prompts import PROMPTS, prompt_of, word_of
from distill.records import Ask, Pair, Score, Trace

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Row = tuple[Pair, Trace]
Key = tuple[str, int]  # pair_id and sample of a trace
Decision = Mapping[str, JsonValue]  # of the trace viewer: action, label, note, time
ToolName = Literal["score", "ask", "row_tokens", "held_out"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the pipeline hands to the filters. A filter gets the tools that its `uses` names, and the other fields.

    `score` judges pairs with a student of an earlier round; `ask` asks the teacher; `row_tokens` counts a trace's
    training row in tokens of the student; `held_out` gives, by evaluation set, the texts that training must not see
    (each can be read once). `decided` are the decisions made in the trace viewer, `base` is the folder that paths of
    the configuration are relative to, `out` where a filter may write. `as_sent` masks a pair as the
    teacher saw it, where traces hold placeholders (`teacher.redact` with `restore: false`).

    `identity` holds, by a tool's name, a hash of what it is made of, and under `rows` one of the pairs and traces:
    decisions of other tools or rows are not reused (`filters.engine.cache`).
    """

    score: Score | None = None
    ask: Ask | None = None
    row_tokens: Callable[[Pair, Trace], int] | None = None
    held_out: Mapping[str, Iterable[str]] = field(default_factory=dict)
    decided: Mapping[Key, Decision] = field(default_factory=dict)
    base: Path = Path()
    out: Path | None = None
    seed: int = 0
    as_sent: Callable[[Pair], Pair] | None = None
    identity: Mapping[str, str] = field(default_factory=dict)

    def only(self, names: Sequence[ToolName]) -> Tools:
        """The same without the tools that `names` leaves out."""
        empty = Tools()
        left_out = {"score", "ask", "row_tokens", "held_out"} - set(names)
        return replace(self, **{f.name: getattr(empty, f.name) for f in fields(self) if f.name in left_out})


class Filter(Settings, ABC):
    """What row filters and group filters share; inherit from `RowFilter` or `GroupFilter`.

    `name` is what counts and rejected rows call the filter: a built-in one's is its module's, an external one's its
    class's, unless the class sets another.
    """

    name: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        super().__pydantic_init_subclass__(**more)
        if "__init__" in vars(cls):
            raise TypeError(f"{cls.__name__} has an __init__; declare thresholds as fields, such as `most: int = 100`")
        if "name" not in vars(cls):
            package, _, module = cls.__module__.rpartition(".")
            cls.name = module if package == "filters" else cls.__name__

    def uses(self) -> tuple[ToolName, ...]:
        """The tools that this filter needs, with these thresholds."""
        return ()

    def reads(self) -> tuple[str, ...]:
        """Other files that decide what it says, relative to the configuration's folder."""
        return ()

    def prepare(self, tools: Tools) -> Filter:
        """The filter that runs, by default this one; called once in each process, before the first row.

        One that needs tools keeps them in private attributes (`_score`) and returns itself. Raises ConfigError where a
        tool is missing.
        """
        return self


class RowFilter(Filter):
    """A rule about one trace. It may run in several processes at the same time, each with some of the rows.

    One with `compares` looks for words of the trace in the pair's texts, or the other way round: where traces hold
    placeholders, it gets the pair with the same ones.
    """

    compares: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """None keeps the trace; a sentence, the reason, rejects it. Reasons are counted up to their first `: `."""

    def prefilter(self, reasoning: pa.ChunkedArray) -> Sequence[bool] | None:
        """For each text of a column, whether the filter must look at it; None where it must look at all (faster)."""
        return None


class GroupFilter(Filter):
    """A rule about many traces. It goes through the rows once, and keeps in memory what it must, not the rows."""

    @abstractmethod
    def __call__(self, rows: Iterable[Row]) -> Mapping[Key, str | Pair]:
        """{(pair_id, sample): reason} of the rejected; a Pair in place of a reason replaces the trace's pair.

        `rows` are (pair, trace), sorted by pair_id and sample. What the mapping does not name is kept.
        """


def need(tool: T | None, name: str, remedy: str) -> T:
    """The tool. Raises ConfigError with the filter's name and the remedy where it is missing or empty."""
    if not tool:
        raise ConfigError(f"filters.{name} {remedy}")
    return tool


def says_relevant(trace: Trace) -> bool | None:
    """Whether the verdict says relevant, on the scale of the prompt that the teacher was asked with; None without."""
    return None if trace.verdict is None else trace.verdict >= PROMPTS[prompt_of(trace.teacher)].relevant_from


def sure_of(trace: Trace) -> float | None:
    """The probability of the trace's own verdict, from 0 to 1; None where there is no verdict or it is not known."""
    says = says_relevant(trace)
    if says is None or trace.p_relevant is None:
        return None
    return trace.p_relevant if says else 1 - trace.p_relevant


def verdict_word(trace: Trace) -> str:
    """The verdict as the teacher said it: true, false, or the grade."""
    return "nothing" if trace.verdict is None else word_of(trace.verdict, prompt_of(trace.teacher))
