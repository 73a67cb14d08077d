"""What a source of answers is, as one class in one file. For the settings, the session and the workers.

Most sources of one's own inherit from `WorkerSource` and define `ask`:

    class Mine(WorkerSource):
        async def ask(self, messages, sampling):
            return Reply("why it is so", "true")
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from distill.answers import JsonObject
from distill.answers.finish import FinishReason
from distill.answers.logprobs import WordLogprobs
from distill.plugins import is_external, is_own
from distill.records import Answer, Pair, Request
from teacher.limits import EndpointLimits

if TYPE_CHECKING:
    from pydantic import SecretStr

    from teacher.endpoint import Endpoint
    from teacher.faults import Fault
    from teacher.prices import Price
    from teacher.session import Session
    from teacher.settings import TeacherSettings


@dataclass(slots=True)
class Reply:
    """What a teacher said to one request. `estimated` says that the server reported no token counts.

    `unknown_finish` is the server's word for the end where it is unknown (`distill.answers.finish`); `said_usd` is the
    cost where the server says it; `reasoning_tokens`, of the completion's, also where the reasoning is not shown;
    `unpriced` says that nobody knows what it cost, and `cost_usd` is 0; `words` are the log-probabilities of words of
    the content that may be the verdict (`distill.answers.logprobs.word_logprobs`), None where there are none.
    """

    reasoning: str
    content: str
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    estimated: bool = False
    cached_tokens: int = 0
    said_usd: float | None = None
    unknown_finish: str | None = None
    reasoning_tokens: int = 0
    unpriced: bool = False
    words: list[WordLogprobs] | None = None

    def bill(self, price: Price | None, share: float = 1.0) -> None:
        """Set what it cost: by the price, else as the server says, else it is `unpriced`."""
        if price is not None:
            self.cost_usd = price.cost(self.prompt_tokens, self.cached_tokens, self.completion_tokens, share)
        else:
            self.cost_usd, self.unpriced = self.said_usd or 0.0, self.said_usd is None

    @property
    def thought(self) -> bool:
        """Whether it holds reasoning, or was billed for some that is not shown."""
        return bool(self.reasoning or self.reasoning_tokens)

    @property
    def empty(self) -> bool:
        """Neither reasoning nor answer, though the answer was not cut off."""
        return not self.content and not self.reasoning and self.finish_reason != "length"

    def answer(self, request_id: str, model: str | None, host: str, sampling: JsonObject) -> Answer:
        """The reply as the answer to a request."""
        return Answer(
            request_id,
            self.reasoning,
            self.content,
            self.finish_reason,
            self.prompt_tokens,
            self.completion_tokens,
            self.cost_usd,
            self.latency_s,
            model,
            host,
            sampling,
            None,
            self.estimated,
            self.unknown_finish,
            self.cached_tokens,
            self.reasoning_tokens,
            self.unpriced,
            self.words,
        )


class Connection(Protocol):
    """Where a worker sends requests. `model` and `host` go into the journal."""

    @property
    def model(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def deadline_s(self) -> float: ...

    async def ask(self, messages: list[dict[str, str]], sampling: JsonObject) -> Reply:
        """One answer. Raises Fault."""

    def billed(self, fault: Fault, messages: list[dict[str, str]]) -> tuple[int, int, float]:
        """(prompt tokens, completion tokens, dollars) that a fault has cost."""

    async def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True, slots=True)
class ActorNeeds:
    """What Ray sets aside for a worker, in addition to `teacher.actor`: GPUs, and its environment's variables."""

    num_gpus: float = 0
    env: dict[str, str] = field(default_factory=dict)


class TeacherSource:
    """Where answers come from. Made in the driver and in every worker; heavy work is for `connect`."""

    asks: ClassVar[bool] = True
    """Whether it can be asked; False for traces that exist already (`imported`)."""
    priced: ClassVar[bool] = False
    """Whether it costs what the endpoints' prices say; a budget in dollars then needs them."""
    sends: ClassVar[frozenset[str]] = frozenset()
    """Which of the settings `reasoning` and `extra_body` its requests carry."""
    embedded: ClassVar[bool] = False
    """Whether it is the example's teacher, which the pipeline starts."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        methods = ((cls.connect, TeacherSource.connect), (cls.finished, TeacherSource.finished))
        if is_own(cls) and cls.asks and all(own is base for own, base in methods):
            raise TypeError(f"{cls.__name__} cannot be asked; let it inherit from {__name__}.WorkerSource")

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self.row_counts: dict[str, int] = {}  # of `imported`: what became of each row that was read
        self.notes: list[str] = []  # and the lines that say why

    @property
    def default_name(self) -> str:
        """The teacher's name in request ids, where `teacher.name` gives none."""
        settings = self.settings
        return settings.endpoints[0].model if settings.endpoints else settings.source.rpartition(":")[2]

    @property
    def price_share(self) -> float:
        """What an answer costs, as a share of the endpoints' price."""
        return 1.0

    @property
    def needs(self) -> ActorNeeds:
        """What a worker needs of Ray."""
        return ActorNeeds()

    def check(self) -> None:
        """Raise ValueError that names the key where the settings lack what this source needs."""

    def check_files(self) -> None:
        """Read what can be read before anything is asked. Raises ConfigError, DataError."""

    def identity(self) -> JsonObject:
        """What decides which answers there are, in addition to the teacher's name and the sampling settings."""
        return {}

    def connect(
        self, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr]
    ) -> list[tuple[Connection, EndpointLimits]]:
        """A worker's connections, each with its share of the limits. Only sources that `ask_workers` need it."""
        return []

    def finished(self, session: Session, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """The id of each request once it is answered or has failed for good (see `Session.finished`)."""
        return session.ask_workers(requests, reasoning)

    def imported(self, pairs: Iterable[Pair], scratch: Path) -> Iterator[tuple[Pair, int, Answer | None]]:
        """(pair, sample, answer) of every pair, for a source that cannot be asked; no answer where it holds none."""
        return iter(())

    def share(self, whole: float) -> int:
        """One worker's share of a number of requests in flight."""
        return math.ceil(whole / self.settings.workers)


class WorkerSource(TeacherSource, ABC):
    """A source that answers within the workers, without a server. A worker asks it for many answers at a time."""

    @property
    def model(self) -> str:
        """The model's name, for the journal."""
        return self.settings.teacher_name

    @property
    def host(self) -> str:
        """Where the passages go, for the journal."""
        return "own source" if is_external(self.settings.source) else self.settings.source

    @property
    def deadline_s(self) -> float:
        """How long a worker waits for an answer, in seconds."""
        return self.settings.deadline_s

    @abstractmethod
    async def ask(self, messages: list[dict[str, str]], sampling: JsonObject) -> Reply:
        """One answer to chat messages. `sampling`: temperature, max_tokens, perhaps top_p and seed. Raises Fault."""

    def billed(self, fault: Fault, messages: list[dict[str, str]]) -> tuple[int, int, float]:
        """Nothing is billed."""
        return 0, 0, 0.0

    async def close(self) -> None:
        """Nothing to end."""

    def connect(
        self, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr]
    ) -> list[tuple[Connection, EndpointLimits]]:
        """The source itself."""
        return [(self, EndpointLimits(self.share(self.settings.concurrency), self.deadline_s, None, None))]
