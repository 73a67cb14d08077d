"""The settings of the teacher: the configuration's `teacher`. Read by every module here. Imports nothing heavy.

Only `identity()` decides which answers there are: the teacher's name, how it is asked and the number of samples.
Where it is asked, at what price, how fast and within what budget may change between two calls without buying again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, model_validator

from distill.answers import JsonObject
from distill.config import Settings
from distill.plugins import external_hash, is_external
from distill.prompts import PROMPT_NAME, PROMPTS, Elicit, elicit_hash, teacher_prompt
from teacher.endpoint import Endpoint
from teacher.logprobs import ASKED, check_logprobs
from teacher.prices import Price, price_of
from teacher.reasoning import ANTHROPIC, SERVER, Reasoning, as_said, check_bodies, complete, in_words_of, merged
from teacher.redact import RedactSettings, mask
from teacher.source_settings import BatchSettings, EngineSettings, ImportSettings, NameOrPath, PathBeside

if TYPE_CHECKING:
    from teacher.sources.base import TeacherSource


def _source(value: str, info: ValidationInfo) -> str:
    """The source's name, an own one's path as seen from the configuration's file."""
    from teacher.sources import SOURCES

    return SOURCES.resolved(value, (info.context or {}).get("base"))


AskingStage = Literal["pairs", "trace", "filter", "evaluate"]  # the stages that may ask


class Samples(Settings):
    """`first` samples of every pair, then as many more as `then` says of those that a sample disagrees about.

    A pair is in doubt when one of its first samples says something else than its label, says nothing readable, or
    fails; a pair without a label when its first samples differ from one another.
    """

    first: int = Field(1, ge=1, description="answers to every pair")
    then: int = Field(0, ge=0, description="more answers to the pairs in doubt")


class Actor(Settings):
    """What Ray sets aside for each worker, and by which it places them on nodes."""

    num_cpus: float = Field(1, ge=0, description="CPU cores of one worker")
    num_gpus: float | None = Field(None, ge=0, description="default: none; source vllm: tensor_parallel_size")
    resources: dict[str, float] = Field({}, description="custom resources of Ray, such as {teacher_node: 1}")


class Budget(Settings):
    """What one stage may spend, within the budget of the run."""

    usd: float | None = Field(None, gt=0, description="US dollars; default: no bound of its own")
    tokens: int | None = Field(
        None, gt=0, description="prompt and completion tokens together; default: no bound of its own"
    )


class TeacherSettings(Settings):
    """Who is asked, how, how fast and for how much."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    source: Annotated[str, AfterValidator(_source)] = Field(
        "endpoints", description="endpoints, example, vllm, batch, import, labels, none, or one's own as file.py:Class"
    )
    options: JsonObject = Field({}, description="settings of a source of one's own")
    endpoints: list[Endpoint] = Field(
        [],
        description="source endpoints: one or several OpenAI-compatible URLs of the same teacher, asked side by side",
    )
    example: JsonObject = Field({}, description="source example: the embedded teacher's own settings")
    engine: EngineSettings | None = Field(None, description="source vllm: the engine of each worker; default: none")
    batch: BatchSettings = Field(BatchSettings(), description="source batch: the Batch API or files")
    import_: ImportSettings | None = Field(
        None, alias="import", description="source import: where the existing traces are; default: none"
    )
    name: str | None = Field(None, description="the teacher's name in request ids; default: the first model's")
    prompt: str = Field(PROMPT_NAME, description="set by the run's own `prompt`")

    samples: Annotated[int, Field(ge=1)] | Samples = Field(
        1, description="answers to each pair: a number, or {first: N, then: M} for M more where the first are in doubt"
    )
    temperature: float = Field(0.6, ge=0, description="of the sampling; part of the answers' identity")
    top_p: float | None = Field(None, gt=0, le=1, description="of the sampling; default: not sent")
    seed: int | None = Field(None, description="sample i is asked with seed + i; default: not sent")
    max_tokens: int = Field(4096, ge=1, description="reasoning and answer together")
    context: int | None = Field(
        None,
        ge=1,
        description="the teacher's window in tokens; a prompt without room is not asked; default: all are asked",
    )
    tokenizer: NameOrPath | None = Field(None, description="a folder or hub name, to count prompts; default: estimated")
    reasoning: Reasoning | None = Field(
        None,
        description="on, off, a number of tokens, low, medium or high, in each host's own words; default: not sent",
    )
    extra_body: JsonObject = Field({}, description="more fields of every request's body; others ask anew")
    elicit: Elicit = Field(
        "native", description="written: for models that do not think by themselves; explanation first, verdict last"
    )
    redact: RedactSettings | None = Field(
        None, description="what is masked before a text is sent (docs/redact.md); default: nothing"
    )
    logprobs: bool = Field(
        False,
        description="ask for the tokens' log-probabilities, and keep that of the verdict as a trace's p_relevant; asks "
        "anew where it was off",
    )
    require_reasoning: bool = Field(True, description="stop when the first answers hold no reasoning at all")
    require_verdict: bool = Field(True, description="stop when the first 50 answers hold no readable verdict")

    concurrency: int = Field(256, ge=1, description="requests in flight, all workers and endpoints together")
    workers: int = Field(1, ge=1, description="Ray actors; one sends about a thousand requests a second")
    actor: Actor = Field(Actor(), description="what Ray sets aside for each worker")
    deadline_s: float = Field(600, gt=0, description="seconds after which a request is given up and tried again")
    attempts: int = Field(6, ge=1, description="tries of one request before it is recorded as failed")
    give_up_after_s: float = Field(600, ge=0, description="stop when no endpoint has answered for so many seconds")
    prices: dict[str, Price] = Field(
        {}, description="of models by their name at an endpoint, where it has no price of its own; default: a table"
    )
    budget_usd: float | None = Field(None, gt=0, description="US dollars at which asking stops; default: no bound")
    budget_tokens: int | None = Field(
        None, gt=0, description="prompt and completion tokens at which asking stops; default: no bound"
    )
    budgets: dict[AskingStage, Budget] = Field(
        {}, description="of single stages, such as {filter: {usd: 5}}, within the run's"
    )
    journal: PathBeside | None = Field(
        None, description="a folder or URL for the journal; default: in the run's folder"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_key_in_file(cls, raw: object) -> object:
        for number, endpoint in enumerate(raw.get("endpoints") or [] if isinstance(raw, dict) else []):
            if isinstance(endpoint, dict) and "api_key" in endpoint:
                raise ValueError(f"endpoints.{number}.api_key: name an environment variable in api_key_env instead")
        return raw

    @model_validator(mode="after")
    def _possible(self) -> TeacherSettings:
        source = self.made_source()
        source.check()
        wanted = {*self.body_identity(), *(["logprobs"] if self.logprobs else [])}
        if unsent := wanted - source.sends:
            raise ValueError(f"{min(unsent)}: source {self.source} sends no requests that could have it")
        if self.logprobs:
            check_logprobs(self.endpoints, self.source == "batch" and self.batch.api == "anthropic")
        check_bodies(self.endpoints, self.extra_body)
        asked_at = self.asked_at(self.endpoints)
        if len({endpoint.model for endpoint in self.endpoints}) > 1 and self.name is None:
            raise ValueError("endpoints of different model names need a common name: set teacher.name")
        dollars = [self.budget_usd, *(budget.usd for budget in self.budgets.values())]
        unpriced = [number for number, endpoint in enumerate(asked_at) if endpoint.price is None]
        if source.priced and any(dollars) and unpriced:
            raise ValueError(
                f"budget_usd needs endpoints.{unpriced[0]}.price, by which spending is counted: no price is known for "
                f"{self.endpoints[unpriced[0]].model}"
            )
        if self.context is not None and self.context <= self.max_tokens:
            raise ValueError(f"context {self.context} leaves no prompt with max_tokens {self.max_tokens}")
        if self.redact is not None and self.prompt in PROMPTS:
            hit = mask(teacher_prompt("", "", "", self.prompt, self.elicit), self.redact).values
            if hit:
                words = next(iter(hit.values()))
                raise ValueError(f"redact.patterns: one matches the prompt's own words {words!r}; make it narrower")
        return self

    def made_source(self) -> TeacherSource:
        """The source of answers. Raises ConfigError where its file or class is missing or does not run."""
        from teacher.sources import source_of

        return source_of(self)

    @property
    def asks(self) -> bool:
        """Whether the teacher can be asked; False for traces that exist already."""
        return self.made_source().asks

    @property
    def embedded(self) -> bool:
        """Whether the teacher is the example's, which the pipeline starts."""
        return self.made_source().embedded

    @property
    def teacher_name(self) -> str:
        """The stable name that request ids hash, whatever alias an endpoint gives the model."""
        return self.name or self.made_source().default_name

    @property
    def asked_as(self) -> str:
        """What request ids hash of who is asked: the name, the options of an external source that has some, and what
        every request's body has in addition; the name alone where there is nothing else."""
        options = self.options if is_external(self.source) else {}
        body = self.body_identity()
        if not body:
            return f"{self.teacher_name} {json.dumps(options, sort_keys=True)}" if options else self.teacher_name
        return f"{self.teacher_name} {json.dumps({**body, 'options': options}, sort_keys=True)}"

    def body_identity(self) -> JsonObject:
        """`reasoning` and `extra_body`, as far as they are set: they change answers."""
        body: JsonObject = {} if self.reasoning is None else {"reasoning": as_said(self.reasoning)}
        return {**body, "extra_body": self.extra_body} if self.extra_body else body

    def server_body(self) -> JsonObject:
        """What `reasoning` and `extra_body` add to requests of a file, for a server of one's own (vLLM) to read."""
        return merged(in_words_of(SERVER, self.reasoning, self.max_tokens, "vLLM"), self.extra_body)

    def asked_at(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """The endpoints as they are asked: with what `reasoning` and `extra_body` add to their requests' bodies, and
        with their prices."""
        form = ANTHROPIC if self.source == "batch" and self.batch.api == "anthropic" else None
        asked = complete(endpoints, self.reasoning, self.extra_body, self.max_tokens, form)
        prices = [price_of(endpoint, self.prices) for endpoint in asked]
        return [
            endpoint if endpoint.price is price else endpoint.model_copy(update={"price": price})
            for endpoint, price in zip(asked, prices, strict=True)
        ]

    @property
    def sampled(self) -> Samples:
        """`samples` with its defaults filled in."""
        return self.samples if isinstance(self.samples, Samples) else Samples(first=self.samples)

    def sampling(self, sample: int) -> JsonObject:
        """What is asked of a pair's sample number `sample` besides its messages, as it goes into the request and its
        id: the sampling settings, and log-probabilities where they are wanted."""
        settings: JsonObject = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.top_p is not None:
            settings["top_p"] = self.top_p
        if self.seed is not None:
            settings["seed"] = self.seed + sample
        return {**settings, **ASKED} if self.logprobs else settings

    def identity(self) -> JsonObject:
        """What decides which answers there are; a change here asks anew, any other change asks nothing."""
        identity: JsonObject = {
            "teacher": self.teacher_name,
            "sampling": self.sampling(0),
            "samples": self.sampled.model_dump(),
            "context": [self.context, self.tokenizer] if self.context else None,
            **self.made_source().identity(),
            **self.body_identity(),
        }
        if self.elicit != "native":
            identity["elicit"] = {self.elicit: elicit_hash(self.prompt, self.elicit)}
        if self.redact is not None:
            identity["redact"] = self.redact.model_dump()
        if is_external(self.source):
            identity |= {"source": external_hash(self.source, Path()), "options": self.options}
        return identity
