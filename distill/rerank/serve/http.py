"""HTTP of the server: a request's body and name, its key, its client's leaving, and JSON back. For the routes."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from distill.rerank.serve.faults import Refused, in_plain_words, kind_of
from distill.rerank.serve.schemas import Asked
from distill.rerank.serve.settings import ServeSettings

LONGEST_ID = 200  # characters of an X-Request-Id that goes back
Body = TypeVar("Body", bound=Asked)
Result = TypeVar("Result")


class Json(JSONResponse):
    """JSON in UTF-8; half a surrogate pair in what a client sent, which UTF-8 cannot hold, comes back as a question
    mark."""

    def render(self, content: Any) -> bytes:
        """The content's bytes."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )


def request_id(request: Request) -> str:
    """The request's own name for itself, as far as it can be sent back; "" without one."""
    given = request.headers.get("x-request-id", "")
    return given if given.isprintable() and given.isascii() and len(given) <= LONGEST_ID else ""


def allowed(request: Request, api_key: str | None) -> None:
    """Raise Refused (401) where the server has a key, and the request has another or none."""
    given = request.headers.get("authorization", "")
    if api_key is not None and not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
        raise Refused(401, "send the server's key as Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})


async def read(request: Request, settings: ServeSettings) -> dict[str, Any]:
    """The body, read no further than the limit."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Also what keeps other sites' pages out: a browser asks before it sends JSON across sites, and is refused.
        raise Refused(415, "send JSON, with Content-Type: application/json")
    limit, body = int(settings.max_body_mb * 2**20), bytearray()
    try:
        async with asyncio.timeout(settings.timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise Refused(413, f"the body is larger than {settings.max_body_mb:g} MB", {"Connection": "close"})
        value = json.loads(body)
    except ClientDisconnect:
        raise Refused(499, "the client is gone") from None
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise Refused(422, f"the body is {kind_of(value)}; an object is wanted")
    return value


def checked(model: type[Body], body: dict[str, Any]) -> Body:
    """The body as what its path takes. Raises Refused (422) that says what is wrong in plain words."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise Refused(422, in_plain_words(error)) from None


async def unless_gone(request: Request, work: Awaitable[Result], seconds: float) -> Result:
    """What `work` returns. Cancels it and raises ConnectionError when the client goes, TimeoutError when time is up."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ConnectionError if gone.done() else TimeoutError
    finally:
        for each in (task, gone):
            each.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
