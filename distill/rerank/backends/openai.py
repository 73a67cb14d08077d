"""The openai backend: any server with the completions interface, many requests in flight.

Token ids are sent, so that the prompt is the one that the student was trained with. A vLLM server (known by its list of
models) is asked for exact log-probabilities by token id and returns token ids; of any other the twenty likeliest tokens
are read, and a verdict that is not among them counts as far less likely than the last of them. The tokenizer is
needed here: `model` is a folder or hub name, `served` what the server calls it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from distill.answers import JsonObject
from distill.answers.body import ErrorInBody, NotACompletion, first_choice, parse_body
from distill.answers.finish import finish_of
from distill.config import is_local, secret
from distill.errors import EndpointError, InputError, first_line
from distill.prompts import END_THINK
from distill.rerank.backends.base import Backend, EngineSettings, Finish, Result, Task
from distill.rerank.backends.vllm import REPETITION, written
from distill.rerank.student_format import form_of

Made = TypeVar("Made")
IN_FLIGHT = 64
TRIES = 6
TOP = 20
MISSING = 5.0  # so far below the last that is listed, in nats, a verdict counts that is not listed
STEP_S = 0.25  # how long a step waits for an answer before it gives the caller the word


class OpenAIBackend(Backend):
    """A student behind HTTP. `batch` requests are in flight together; each is tried six times within `timeout_s`."""

    name = "openai"
    remote = True
    by_query = True

    @classmethod
    def start(cls, model: str, settings: EngineSettings) -> OpenAIBackend:
        """The student behind `base_url`; of `engine`: `served` and `timeout_s`."""
        if not settings.base_url:
            raise InputError("backend openai needs the server's address; give base_url (--base-url)")
        return cls(model, settings.base_url, settings.batch, settings.prompt, settings.api_key_env, **settings.engine)

    def __init__(
        self,
        model: str,
        base_url: str,
        batch: int | None = None,
        prompt: str | None = None,
        api_key_env: str | None = None,
        served: str | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.base_url, self.batch = base_url, batch or IN_FLIGHT
        key = secret(api_key_env, "--api-key-env") if api_key_env else "none"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="rerank-openai")
        self._thread.start()
        self._answers: queue.Queue[tuple[Task, Result | BaseException]] = queue.Queue()
        self._running: dict[Task, Future[None]] = {}

        async def client() -> AsyncOpenAI:
            return AsyncOpenAI(
                base_url=base_url,
                api_key=key,
                timeout=timeout_s,
                max_retries=TRIES - 1,
                http_client=DefaultAioHttpClient(trust_env=not is_local(base_url)),
            )

        self._client = self._wait(client())
        try:
            self.served, self.exact, context = self._wait(self._models(served))
            self.form = form_of(model, context, prompt, weights=False)
        except Exception:
            self.close()
            raise

    @property
    def free(self) -> int:
        """How many more requests may be in flight."""
        return self.batch - len(self._running)

    def add(self, task: Task) -> None:
        """Send a task."""
        self._running[task] = asyncio.run_coroutine_threadsafe(self._run(task), self._loop)

    def drop(self, task: Task) -> None:
        """Forget a task; its connection is closed."""
        future = self._running.pop(task, None)
        if future is not None:
            future.cancel()

    def step(self) -> list[tuple[Task, Result]]:
        """What has come since the last step; waits a quarter of a second where nothing has.

        Raises EndpointError where the server refuses or is gone.
        """
        found: list[tuple[Task, Result]] = []
        while self._running:
            try:
                task, answer = self._answers.get(timeout=STEP_S) if not found else self._answers.get_nowait()
            except queue.Empty:
                break
            if self._running.pop(task, None) is None:
                continue
            if isinstance(answer, BaseException):
                raise EndpointError(f"{self.base_url}: {first_line(answer)}") from None
            found.append((task, answer))
        return found

    def close(self) -> None:
        """Close the connections and the thread."""
        for task in list(self._running):
            self.drop(task)
        if self._loop.is_running():
            self._wait(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)

    def _wait(self, work: Coroutine[None, None, Made]) -> Made:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _models(self, served: str | None) -> tuple[str, bool, int | None]:
        """(the model's name there, whether the server is vLLM, the context that it holds)."""
        try:
            listed = [each async for each in self._client.with_options(max_retries=1).models.list()]
        except Exception as error:
            raise EndpointError(
                f"{self.base_url}: no list of models ({first_line(error)}); is the server up?"
            ) from None
        known = {each.id: each for each in listed}
        if served is None and len(known) == 1:
            served = next(iter(known))
        if served is None or served not in known:
            raise EndpointError(f"{self.base_url}: has {', '.join(known) or 'no models'}; name one of them as `served`")
        found = known[served]
        return served, getattr(found, "owned_by", "") == "vllm", getattr(found, "max_model_len", None)

    async def _run(self, task: Task) -> None:
        try:
            answer: Result | BaseException = await (self._write(task) if task.max_new else self._read(task))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            answer = error
        self._answers.put((task, answer))

    async def _ask(self, ids: list[int], **settings: Any) -> JsonObject:
        """The choice that the server gives; an error under status 200 is tried again like any other."""
        completions = self._client.completions.with_raw_response
        for attempt in range(TRIES):
            response = await completions.create(model=self.served, prompt=ids, **settings)
            try:
                return first_choice(parse_body(response.content))
            except (ErrorInBody, NotACompletion) as error:
                passing = isinstance(error, NotACompletion) or error.status in (408, 409, 429) or error.status >= 500
                if not passing or attempt == TRIES - 1:
                    raise EndpointError(f"HTTP 200 with no completion: {error}") from None
            await asyncio.sleep(min(8.0, 0.5 * 2**attempt))
        raise AssertionError("unreachable")

    async def _read(self, task: Task) -> Result:
        verdicts = list(self.form.verdicts)
        if self.exact:
            more = {"logprob_token_ids": verdicts, "return_tokens_as_token_ids": True}
            choice = await self._ask(task.ids, max_tokens=1, temperature=0, logprobs=len(verdicts), extra_body=more)
            listed = _listed(choice)
            return Result([], "read", [listed[f"token_id:{token}"] for token in verdicts])
        choice = await self._ask(task.ids, max_tokens=1, temperature=0, logprobs=TOP)
        listed = _listed(choice)
        if not listed:
            raise EndpointError("the server returns no log-probabilities, and there is no score without them")
        floor = min(listed.values()) - MISSING
        words = [self.form.tokenizer.decode([token]) for token in verdicts]
        return Result([], "read", [listed.get(word, floor) for word in words])

    async def _write(self, task: Task) -> Result:
        settings: dict[str, Any] = {"max_tokens": task.max_new, "temperature": task.temperature}
        if task.temperature:
            settings["seed"] = task.seed
        if self.exact:
            more: dict[str, Any] = {"return_token_ids": True, "skip_special_tokens": False}
            more |= {"min_tokens": task.min_new} if task.min_new else {}
            more |= {"repetition_detection": REPETITION} if task.loops == "stop" else {}
            if task.to_end and self.form.end is not None:
                more["stop_token_ids"] = [self.form.end]
            elif task.to_end:
                more |= {"stop": [END_THINK], "include_stop_str_in_output": True}
            choice = await self._ask(task.ids, **settings, extra_body=more)
            ids = choice.get("token_ids")
            tokens = [int(str(id_)) for id_ in ids] if isinstance(ids, list) else []
            return written(self.form, task, tokens, str(choice.get("finish_reason")))
        # Whether a stop string or an end of text ended it, other servers do not say: so no stop string is given, and
        # what follows </think>, the verdict and the end, is cut off here.
        first = ""
        if task.min_new:  # nobody else knows min_tokens: the first tokens are asked for with the ends forbidden
            forbidden = {"logit_bias": {str(token): -100 for token in self.form.early}}
            first = _text(await self._ask(task.ids, **{**settings, "max_tokens": task.min_new}, **forbidden))
            settings["max_tokens"] -= task.min_new
            if settings["max_tokens"] < 1:
                return Result(self._ids(first), "length")
        choice = await self._ask(task.ids + self._ids(first), **settings)
        text, closed, _ = f"{first}{_text(choice)}".partition(END_THINK)
        if not task.to_end:
            return Result(self._ids(_text(choice)), "length" if _cut(choice) else "stop")
        if closed:
            return Result(self._ids(text + END_THINK), "stop")
        finish: Finish = "length" if _cut(choice) else "no_end"
        return Result(self._ids(text), finish)

    def _ids(self, text: str) -> list[int]:
        return list(self.form.tokenizer.encode(text, add_special_tokens=False))


def _text(choice: JsonObject) -> str:
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def _cut(choice: JsonObject) -> bool:
    return finish_of(choice.get("finish_reason"))[0] == "length"


def _listed(choice: JsonObject) -> dict[str, float]:
    """Token -> log-probability at the first place: the completions' form, or the chats' (llama.cpp); {} without any."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return {}
    top, content = logprobs.get("top_logprobs"), logprobs.get("content")
    if isinstance(top, list) and top and isinstance(top[0], dict):
        return {token: float(str(value)) for token, value in top[0].items()}
    first = content[0] if isinstance(content, list) and content else None
    chosen = first.get("top_logprobs") if isinstance(first, dict) else None
    tokens = chosen if isinstance(chosen, list) else []
    return {str(token["token"]): float(str(token["logprob"])) for token in tokens if isinstance(token, dict)}
