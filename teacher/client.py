"""Sends one request to one OpenAI-compatible endpoint: a reply, or a `Fault`. For the workers and the preflight.

The openai client makes the URL, the headers and the transport (aiohttp), once. Each request goes through that transport
directly: the client's own `post` copies options and headers and parses URLs for each, which is 40 % of a request's CPU;
its retries know no budget; and its models of an answer cost as much again and have no place for `reasoning`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from distill.answers import JsonObject
from distill.answers.body import ErrorInBody, NotACompletion, Usage, read_completion
from teacher.connection import trusted_certificates, trusts_proxy
from teacher.endpoint import Endpoint, FromEnv
from teacher.faults import Action, Fault, from_body, from_exception, html_title, scrubbed, shorten
from teacher.keys import digest_of
from teacher.sources.base import Reply

if TYPE_CHECKING:
    import httpx2

CHARACTERS_A_TOKEN = 4.0
PROBE = [{"role": "user", "content": "Answer only with 'true' or 'false': is water wet?"}]
PROBE_SAMPLING: JsonObject = {"max_tokens": 16}


def guess_tokens(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: a quarter of its UTF-8 bytes."""
    return int(len(text.encode("utf-8", "replace")) / CHARACTERS_A_TOKEN) + 1


def guess_prompt(messages: list[dict[str, str]]) -> int:
    """Tokens of a prompt, guessed."""
    return sum(guess_tokens(message["content"]) + 4 for message in messages)


class Client:
    """An endpoint's connection. `key` is the secret itself ("" where none is needed)."""

    def __init__(self, endpoint: Endpoint, key: str, deadline_s: float, connections: int) -> None:
        self.endpoint, self._key, self.deadline_s = endpoint, key, deadline_s
        self.model, self.host = endpoint.model, endpoint.host  # its name there; host and port: where the passages go
        self.expired = self.accepted = False  # of a key that api_key_command gave: refused, or taken
        self._connections = connections
        self._http: httpx2.AsyncClient | None = None

    def _connected(self) -> httpx2.AsyncClient:
        if self._http is None:
            import httpx2
            import openai

            limits = httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections)
            self._http = openai.DefaultAioHttpClient(
                limits=limits,
                timeout=self.deadline_s,
                trust_env=trusts_proxy(self.endpoint.base_url),
                verify=trusted_certificates(),
            )
            client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url, api_key=self._key or "none", http_client=self._http
            )
            headers = {**client.default_headers, **client.auth_headers}
            self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
            self._headers.update(plain(self.endpoint.headers))
            url = client.base_url.copy_with(raw_path=client.base_url.raw_path + b"chat/completions")
            self._url = url.copy_merge_params(query) if (query := plain(self.endpoint.query)) else url
            self._timeout = httpx2.Timeout(self.deadline_s).as_dict()
        return self._http

    async def ask(self, messages: list[dict[str, str]], sampling: JsonObject) -> Reply:
        """Ask once. Raises Fault, with its message free of the key, for everything but an answer."""
        http, key = self._connected(), self._key  # the import and the connection pool are not the server's time
        started = time.perf_counter()
        response: httpx2.Response | None = None
        try:
            async with asyncio.timeout(self.deadline_s):
                response = await self._send(http, messages, sampling)
            self.accepted = self.accepted or key == self._key
            reply = read_body(response.content, messages, time.perf_counter() - started)
            reply.bill(self.endpoint.price)
            return reply
        except Exception as error:
            fault = from_exception(error, self.deadline_s, self.endpoint.host)
            if response is not None and response.history:
                fault.message = f"redirected to {response.url.copy_with(query=None)}: {fault.message}"
            fault.message = scrubbed(fault.message, [key, *secrets_of(self.endpoint)])
            if fault.kind == "unauthorized" and self.endpoint.api_key_command:
                self.expired = self.expired or key == self._key
            raise fault from None

    @property
    def key_digest(self) -> str:
        """By what the key is known where it must not be written."""
        return digest_of(self._key)

    def renew(self, key: str) -> None:
        """Send this key from now on."""
        self._connected()
        self._key, self.expired, self.accepted = key, False, False
        self._headers["Authorization"] = f"Bearer {key}"

    def billed(self, fault: Fault, messages: list[dict[str, str]]) -> tuple[int, int, float]:
        """(prompt tokens, completion tokens, dollars) that a fault probably cost: guessed, nobody reports it."""
        if fault.billed_text is None:
            return 0, 0, 0.0
        prompt = guess_prompt(messages)
        completion = guess_tokens(fault.billed_text) if fault.billed_text else 0
        price = self.endpoint.price
        return prompt, completion, price.cost(prompt, 0, completion) if price else 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _send(
        self, http: httpx2.AsyncClient, messages: list[dict[str, str]], sampling: JsonObject
    ) -> httpx2.Response:
        import anyio
        import httpx2
        import openai

        body = self.endpoint.body(messages, sampling)
        request = httpx2.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=json.dumps(body).encode(),
            extensions={"timeout": self._timeout},
        )
        try:
            response = await http.send(request)
        except httpx2.TimeoutException as error:
            raise openai.APITimeoutError(request) from error
        except (httpx2.RequestError, ssl.SSLError, anyio.EndOfStream) as error:  # those that the openai client wraps
            raise openai.APIConnectionError(request=request) from error
        if not response.is_success:
            raise openai.APIStatusError(f"status {response.status_code}", response=response, body=None)
        return response


def plain(values: Mapping[str, str | FromEnv]) -> dict[str, str]:
    """Headers or query parameters as they are sent."""
    return {name: value if isinstance(value, str) else value.value for name, value in values.items()}


def secrets_of(endpoint: Endpoint) -> list[str]:
    """The values of an endpoint's headers and query that no message may repeat."""
    return [
        value.value for value in (*endpoint.headers.values(), *endpoint.query.values()) if isinstance(value, FromEnv)
    ]


def read_body(raw: bytes, messages: list[dict[str, str]], latency_s: float) -> Reply:
    """A chat completion's body as a Reply, without its cost. Raises Fault where it is none."""
    try:
        completion = read_completion(raw)
    except ErrorInBody as error:
        raise from_body(error) from None
    except NotACompletion as error:
        text = raw.decode("utf-8", "replace")
        title = html_title(text)
        if title is not None:
            raise Fault("html_page", f"a web page came instead of an answer: {title}", Action.RETRY) from None
        message = f"not a chat completion ({error}): {shorten(text, 120)}"
        raise Fault("malformed", message, Action.RETRY, billed_text=text) from None
    if completion.finish_reason == "content_filter" and not completion.content:
        raise Fault("content_filter", "finish_reason content_filter", Action.ROW, billed_text=completion.reasoning)
    text = completion.reasoning + completion.content
    usage = completion.usage or Usage(guess_prompt(messages), guess_tokens(text) if text else 0)
    return Reply(
        completion.reasoning,
        completion.content,
        completion.finish_reason,
        usage.prompt_tokens,
        usage.completion_tokens,
        0.0,
        latency_s,
        estimated=completion.usage is None,
        cached_tokens=usage.cached_tokens,
        said_usd=usage.cost_usd,
        unknown_finish=completion.unknown_finish,
        reasoning_tokens=usage.reasoning_tokens,
        words=completion.words,
    )
