"""`source: vllm`: an engine within the worker, in place of an endpoint; no server, no HTTP.

The engine's own scheduler batches continuously; the worker keeps it full. Prefix caching is on: the prompt has the
query before the passage, so the passages of a query share its prefix.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from pydantic import SecretStr

from distill.answers import JsonObject, JsonValue
from distill.answers.finish import finish_of
from distill.answers.logprobs import TokenLogprobs, read_logprobs, word_logprobs
from distill.answers.text import split_text
from distill.errors import ConfigError
from distill.prompts import THINK
from teacher.endpoint import Endpoint
from teacher.faults import Action, Fault, shorten
from teacher.limits import EndpointLimits
from teacher.logprobs import ASKED, TOP
from teacher.sources.base import ActorNeeds, Connection, Reply, WorkerSource

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.outputs import CompletionOutput
    from vllm.v1.engine.async_llm import AsyncLLM


class VLLM(WorkerSource):
    """`teacher.engine` names the model and vLLM's arguments. Each worker owns an engine."""

    _engine: AsyncLLM
    sends: ClassVar[frozenset[str]] = frozenset({"reasoning", "logprobs"})

    @property
    def default_name(self) -> str:
        """The engine's model."""
        return self.settings.engine.model if self.settings.engine else super().default_name

    @property
    def model(self) -> str:
        """The engine's model, for the journal."""
        return self.default_name

    @property
    def host(self) -> str:
        """No host: the passages stay in the worker."""
        return "engine"

    @property
    def needs(self) -> ActorNeeds:
        """As many GPUs as the model is spread over."""
        engine = self.settings.engine
        return ActorNeeds(engine.tensor_parallel_size, engine.env) if engine else ActorNeeds()

    def check(self) -> None:
        """Raise ValueError without `teacher.engine`."""
        if self.settings.engine is None:
            raise ValueError("source vllm needs the key engine")
        if not isinstance(self.settings.reasoning, bool | None):
            raise ValueError(f"reasoning: {self.settings.reasoning}: source vllm takes on or off (chat template)")

    def connect(
        self, endpoints: Sequence[Endpoint], keys: Sequence[SecretStr]
    ) -> list[tuple[Connection, EndpointLimits]]:
        """Load the engine. Raises ConfigError when vLLM is missing or cannot load the model."""
        engine = self.settings.engine
        assert engine is not None
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ConfigError(
                f"teacher.source: vllm needs vLLM in the workers' environment ({error}); install rerank-distill[vllm]"
            ) from None
        values = {"enable_prefix_caching": True, "disable_log_stats": True, **engine.args}
        try:
            args = AsyncEngineArgs(model=engine.model, tensor_parallel_size=engine.tensor_parallel_size, **values)
            self._engine = AsyncLLM.from_engine_args(args)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise ConfigError(f"teacher.engine: vLLM cannot load {engine.model}: {shorten(str(error))}") from None
        return super().connect(endpoints, keys)

    async def ask(self, messages: list[dict[str, str]], sampling: JsonObject) -> Reply:
        """One answer. Raises Fault."""
        from vllm import SamplingParams

        text = self._prompt(messages)
        prompt = self._tokens.encode(text, add_special_tokens=False)
        started, last = time.perf_counter(), None
        wanted = {name: value for name, value in sampling.items() if name not in ASKED}
        if sampling.get("logprobs"):
            wanted["logprobs"] = TOP
        params = SamplingParams(**wanted, skip_special_tokens=False)  # or a special </think> would vanish
        try:
            async with asyncio.timeout(self.deadline_s):
                async for output in self._engine.generate({"prompt_token_ids": prompt}, params, request_id=uuid4().hex):
                    last = output
        except TimeoutError:
            raise Fault("deadline", f"no answer within {self.deadline_s:g} s", Action.RETRY) from None
        except ValueError as error:  # the prompt is longer than the model's window
            raise Fault("context_too_long", shorten(str(error)), Action.ROW) from None
        assert last is not None
        output = last.outputs[0]
        opened = THINK if text.rstrip().endswith(THINK) else ""  # by the chat template
        reasoning, content = split_text(opened + output.text)
        finish, unknown = finish_of(output.finish_reason)
        seconds = time.perf_counter() - started
        counts = len(prompt), len(output.token_ids)
        words = word_logprobs(_logprobs(output), content) if sampling.get("logprobs") else None
        return Reply(reasoning, content, finish, *counts, 0.0, seconds, False, unknown_finish=unknown, words=words)

    async def close(self) -> None:
        """End the engine."""
        self._engine.shutdown()

    @cached_property
    def _tokens(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.model)

    def _prompt(self, messages: list[dict[str, str]]) -> str:
        if self._tokens.chat_template:
            template = partial(self._tokens.apply_chat_template, messages, tokenize=False, add_generation_prompt=True)
            wanted = self.settings.reasoning
            return str(template() if wanted is None else template(enable_thinking=wanted, thinking=wanted))
        return "\n".join(message["content"] for message in messages) + "\n"


def _logprobs(output: CompletionOutput) -> Iterator[tuple[bytes, TokenLogprobs]]:
    """The log-probabilities of an engine's output, as its server would give them."""
    entries: list[JsonValue] = []
    for token, found in zip(output.token_ids, output.logprobs or [], strict=False):
        top: list[JsonValue] = [{"token": each.decoded_token, "logprob": each.logprob} for each in found.values()]
        own = found[token]
        entries.append({"token": own.decoded_token or "", "logprob": own.logprob, "top_logprobs": top})
    return read_logprobs({"content": entries})
