"""`source: vllm`: an engine within the worker, in place of an endpoint; no server, no HTTP.

The engine's own scheduler batches continuously; the desk keeps it full. Prefix caching is on: the prompt puts the query
before the passage, so the passages of a query share its prefix.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from distill.answers.finish import finish_of
from distill.answers.text import split_text
from distill.errors import ConfigError
from teacher.client import Reply
from teacher.faults import Action, Fault, shorten
from teacher.settings import Endpoint, Engine


class EngineClient:
    """Stands where a `Client` stands at the desk. Raises ConfigError when vLLM is missing or cannot load the model."""

    def __init__(self, engine: Engine, deadline_s: float) -> None:
        self.endpoint = Endpoint(base_url="http://engine", model=engine.model)
        self.deadline_s = deadline_s
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
            self._engine: Any = AsyncLLM.from_engine_args(args)
        except (TypeError, ValueError, OSError, RuntimeError) as error:
            raise ConfigError(f"teacher.engine: vLLM cannot load {engine.model}: {shorten(str(error))}") from None
        self._tokenizer: Any = None

    async def ask(self, messages: list[dict[str, str]], sampling: dict[str, Any]) -> Reply:
        """One answer. Raises Fault."""
        from vllm import SamplingParams

        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(self.endpoint.model)
        prompt = self._prompt(messages)
        started, last = time.perf_counter(), None
        params = SamplingParams(**sampling, skip_special_tokens=False)  # or a special </think> would vanish
        try:
            async with asyncio.timeout(self.deadline_s):
                async for output in self._engine.generate({"prompt_token_ids": prompt}, params, request_id=uuid4().hex):
                    last = output
        except TimeoutError:
            raise Fault("deadline", f"no answer within {self.deadline_s:g} s", Action.RETRY) from None
        except ValueError as error:  # the prompt is longer than the model's window
            raise Fault("context_too_long", shorten(str(error)), Action.ROW) from None
        assert last is not None
        said = last.outputs[0]
        reasoning, content = split_text(said.text)
        finish, unknown = finish_of(said.finish_reason)
        seconds = time.perf_counter() - started
        counts = len(prompt), len(said.token_ids)
        return Reply(reasoning, content, finish, *counts, 0.0, seconds, False, unknown_finish=unknown)

    def billed(self, fault: Fault, messages: list[dict[str, str]]) -> tuple[int, int, float]:
        """Nothing is billed."""
        return 0, 0, 0.0

    async def close(self) -> None:
        """End the engine."""
        self._engine.shutdown()

    def _prompt(self, messages: list[dict[str, str]]) -> list[int]:
        if getattr(self._tokenizer, "chat_template", None):
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n".join(message["content"] for message in messages) + "\n"
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids
