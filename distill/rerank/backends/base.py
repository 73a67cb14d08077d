"""What the reranker asks of an engine: rows of token ids in, what was written and the verdicts' log-probabilities out.

An engine runs many rows together and takes new ones while others run; it knows nothing of modes, scores or queries.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any, Literal, get_args

from distill.errors import PluginError
from distill.plugins import faulty, is_own, shown
from distill.records import Pair
from distill.rerank.repetition import Loops
from distill.rerank.student_format import StudentFormat, form_of

Finish = Literal["read", "stop", "length", "no_end", "looped"]
FINISHES = frozenset(get_args(Finish))
AT_MOST = 1.01  # the verdicts' probabilities together; more than 1 by rounding


@dataclass(slots=True, eq=False)
class Task:
    """One row to run: read the verdicts after `ids` (`max_new` 0), or write on and then read them.

    `ids` are the tokens of the prompt of `pair` (of a part of its passage where that was too long), and of what was
    written after it.

    Writing ends after `</think>` (`to_end`), at an end of text, or after `max_new` tokens; neither of the first two may
    come before `min_new` tokens; with `loops` "stop" also where the text repeats itself (`distill.rerank.repetition`).
    `temperature` 0 is greedy; else one sample is drawn, with `seed`. `owner` belongs to the caller.
    """

    ids: list[int]
    pair: Pair
    max_new: int = 0
    to_end: bool = True
    min_new: int = 0
    temperature: float = 0.0
    seed: int = 0
    loops: Loops = "stop"
    owner: Any = field(default=None, repr=False)


@dataclass(slots=True)
class Result:
    """What came of a task: the ids written (without an end of text), why it stopped, and the verdicts' log-probs.

    `finish` is "read" for a reading, "stop" after `</think>` (or an end of text where that was the aim), "length" at
    the bound, "no_end" for an end of text before `</think>`, "looped" where the text repeated itself. `logprobs` are
    over the whole vocabulary, one a verdict in the form's order; None where the engine has to be asked for them with a
    second task. `closed` is what an engine made of the ids of a reasoning that did not end by itself
    (`StudentFormat.closed`), where it has read the verdicts after that.
    """

    ids: list[int]
    finish: Finish
    logprobs: list[float] | None = None
    closed: list[int] | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine is started. `batch` is in rows; `prompt` names the student's prompt where its folder does not;
    `engine` are arguments of the backend's own; `dtype` is torch's name, auto (or None) for its own choice."""

    batch: int | None = None
    prompt: str | None = None
    device: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None


class Backend(ABC):
    """An engine. One thread uses it; `step` returns what is finished and never waits for more work.

    `form` is the student's format; `name` is for messages and files, by default the class's.
    """

    name: str
    form: StudentFormat
    remote = False  # whether another process has the student, and is paid by the request
    by_query = False  # whether rows of one query should come one after another, to share their beginning

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, form: StudentFormat) -> None:
        self.form = form

    @classmethod
    def start(cls, model: str, settings: EngineSettings) -> Backend:
        """The engine of a student (folder or hub name), ready for tasks: by default of its format alone.

        Raises InputError where it cannot be run.
        """
        return cls(form_of(model, prompt=settings.prompt))

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more tasks are worth adding now."""

    @abstractmethod
    def add(self, task: Task) -> None:
        """Take a task in."""

    def drop(self, task: Task) -> None:  # noqa: B027
        """Forget a task, where that saves work: nobody wants its result any more. Unknown ones are ignored."""

    @abstractmethod
    def step(self) -> list[tuple[Task, Result]]:
        """One step of everything that was added: (task, result) of what is finished, [] where nothing is.

        Each task that was added and not dropped comes once, the very object.
        """

    def close(self) -> None:  # noqa: B027
        """Give memory and connections back, where there are any."""


def finished_tasks(backend: Backend) -> list[tuple[Task, Result]]:
    """A step of the backend, looked at. Raises PluginError for a result that cannot be one of its task."""
    rows: object = backend.step()
    if not isinstance(rows, list):
        raise faulty_step(backend, shown(rows))
    for row in rows:
        if not isinstance(row, tuple) or [type(part) for part in row] != [Task, Result]:
            raise faulty_step(backend, short(row))
        if fault := _fault(backend, *row):
            raise faulty_step(backend, fault)
    return rows


def _fault(backend: Backend, task: Task, result: Result) -> str:
    """What of a result cannot be; a NaN of a built-in backend is the student's, and stays."""
    if result.finish not in FINISHES or (result.finish == "read") == (task.max_new > 0):
        fault = f"finish {result.finish!r} for a task with max_new {task.max_new}"
        return f"{fault} (one that only reads: --mode direct, or sft.targets of mode direct)" if task.max_new else fault
    if not isinstance(result.ids, list):
        return f"ids that are {shown(result.ids)}"
    if result.logprobs is None:
        return "" if task.max_new else "no logprobs for a task with max_new 0"
    if not isinstance(result.logprobs, list | tuple) or len(result.logprobs) != len(backend.form.verdicts):
        return f"logprobs {short(result.logprobs)}"
    if not _are_log_probs(result.logprobs, nan=not is_own(type(backend))):
        return f"logprobs {short(result.logprobs)}, which are no logarithms of probabilities"
    return ""


def faulty_step(backend: Backend, fault: str) -> PluginError:
    """The error for what `step` has returned."""
    remedy = (
        "return [(task, Result(ids, finish, logprobs))], finish read where max_new is 0, else stop, length, no_end or "
        f"looped, logprobs {len(backend.form.verdicts)} natural logarithms, one a verdict in the form's order"
    )
    return faulty(backend, "step", f"`step` returned {fault}", remedy)


def _are_log_probs(values: Sequence[float], nan: bool) -> bool:
    """Whether they can be logarithms of the probabilities of different words; `nan` says what is said of a NaN."""
    try:
        total = sum(map(math.exp, values))
    except (TypeError, OverflowError):
        return False
    return nan if math.isnan(total) else total <= AT_MOST
