"""What the reranker asks of an engine: rows of token ids in, what was written and the verdicts' log-probabilities out.

An engine runs many rows together and takes new ones while others run; it knows nothing of modes, scores or queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from distill.records import Pair
from distill.rerank.student_format import StudentFormat

Finish = Literal["read", "stop", "length", "no_end"]


@dataclass(slots=True, eq=False)
class Task:
    """One row to run: read the verdicts after `ids` (`max_new` 0), or write on and then read them.

    `ids` are the tokens of the prompt of `pair` (of a part of its passage where that was too long), and of what was
    written after it.

    Writing ends after `</think>` (`to_end`), at an end of text, or after `max_new` tokens; neither of the first two may
    come before `min_new` tokens. `temperature` 0 is greedy;
    else one sample is drawn, with `seed`. `owner` belongs to the caller.
    """

    ids: list[int]
    pair: Pair
    max_new: int = 0
    to_end: bool = True
    min_new: int = 0
    temperature: float = 0.0
    seed: int = 0
    owner: Any = field(default=None, repr=False)


@dataclass(slots=True)
class Result:
    """What came of a task: the ids written (without an end of text), why it stopped, and the verdicts' log-probs.

    `finish` is "read" for a reading, "stop" after `</think>` (or an end of text where that was the aim), "length" at
    the bound, "no_end" for an end of text before `</think>`. `logprobs` are over the whole vocabulary, one a verdict in
    the form's order; None where the engine has to be asked for them with a second task.
    """

    ids: list[int]
    finish: Finish
    logprobs: list[float] | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine is started. `batch` is in rows; `prompt` names the student's prompt where its folder does not;
    `engine` are arguments of the backend's own; `dtype` is a name of torch's, None for the backend's own choice."""

    batch: int | None = None
    prompt: str | None = None
    device: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None


class Backend(ABC):
    """An engine. One thread uses it; `step` returns what is finished and never waits for more work."""

    name: str
    form: StudentFormat
    by_query = False  # whether rows of one query should come one after another, to share their beginning

    @classmethod
    @abstractmethod
    def start(cls, model: str, settings: EngineSettings) -> Backend:
        """The engine of a student (folder or hub name), ready for tasks. Raises InputError where it cannot be run."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many more tasks are worth adding now."""

    @abstractmethod
    def add(self, task: Task) -> None:
        """Take a task in."""

    @abstractmethod
    def drop(self, task: Task) -> None:
        """Forget a task, running or waiting; it gives no result. Unknown tasks are ignored."""

    @abstractmethod
    def step(self) -> list[tuple[Task, Result]]:
        """One step of everything that was added; what is finished, [] where nothing is."""

    @abstractmethod
    def close(self) -> None:
        """Give memory and connections back."""
