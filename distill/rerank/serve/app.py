"""The routes: read and check, judge, answer; every refusal is JSON with a status that a client understands.

Documents and queries are data: they go into the prompt's fields and back as JSON, nowhere else. Not covered: TLS and
accounts; put a gateway in front where the server is to be reached from beyond the machine.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from distill import __version__
from distill.errors import InputError
from distill.records import Judgement, make_pair
from distill.rerank.fusion import Fusion
from distill.rerank.serve.engine_thread import RETRY_AFTER_S, Busy, Engine, EngineFailed, EngineThread
from distill.rerank.serve.meters import Meters
from distill.rerank.serve.schemas import Asked, ExplainRequest, RerankBody, explained, ranked
from distill.rerank.serve.settings import ServeSettings

PAGE = Path(__file__).parent / "page.html"
LOCAL = ["127.0.0.1", "localhost", "[::1]"]
Body = TypeVar("Body", bound=Asked)


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the engine, its name and mode, how a pair is judged where its reasoning is wanted, and how its
    margins are fused with first-stage scores, where that was chosen."""

    engine: Engine
    name: str
    mode: str
    explain_plan: Any = None
    fusion: Fusion | None = None


class Refused(Exception):
    """A request that gets a status and a sentence."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def make_app(
    served: Served, settings: ServeSettings | None = None, api_key: str | None = None, hosts: list[str] | None = None
) -> FastAPI:
    """The application. With `hosts`, requests to other names are refused, so that no web page reaches a server on
    this machine under a name of its own (DNS rebinding)."""
    settings = settings or ServeSettings()
    desk = EngineThread(served.engine, settings.max_waiting, settings.client_share)
    meters = Meters(desk)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.start()
        yield
        await asyncio.to_thread(desk.stop)

    app = FastAPI(title="distill serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    async def judged(request: Request, asked: Asked, passages: Sequence[str], plan: Any, began: float) -> Any:
        for what, texts in (("document", passages), ("query", [asked.query]), ("instruction", [asked.instruction])):
            longest = max(len(text or "") for text in texts)
            if longest > settings.max_characters:
                limit = settings.max_characters
                raise Refused(413, f"a {what} of {longest:,} characters; at most {limit:,} are taken here")
        if asked.model not in (None, served.name):
            raise Refused(404, f"no model {asked.model!r} is served here; this is {served.name!r}")
        if asked.mode not in (None, served.mode):
            raise Refused(422, f"mode {asked.mode!r} is not served here; this server answers in mode {served.mode!r}")
        pairs = [make_pair("0", str(at), asked.query, text, asked.instruction) for at, text in enumerate(passages)]
        client = request.client.host if request.client else ""
        try:
            left = settings.timeout_s - (time.monotonic() - began)
            found: list[Judgement] = await _unless_gone(request, desk.judge(pairs, client, plan), left)
        except (TimeoutError, ConnectionError) as error:
            gone = isinstance(error, ConnectionError)
            meters.given_up.labels("client gone" if gone else "deadline").inc()
            if gone:
                raise Refused(499, "the client is gone") from None
            raise Refused(
                504, f"not answered within {settings.timeout_s:g} s; send fewer or shorter documents"
            ) from None
        except Busy as error:
            raise Refused(429, str(error), {"Retry-After": str(RETRY_AFTER_S)}) from None
        except EngineFailed as error:
            raise Refused(503, str(error)) from None
        except InputError as error:
            raise Refused(422, str(error)) from None
        meters.judged(found)
        return found

    async def rerank(request: Request, version: int, began: float) -> dict[str, Any]:
        asked = await _read(request, RerankBody, settings)
        if len(asked.documents) > settings.max_documents:
            raise Refused(413, f"{len(asked.documents)} documents; at most {settings.max_documents} are taken here")
        found = await judged(request, asked, asked.passages(), None, began)
        return ranked(asked, found, served.name, version, served.fusion)

    async def explain(request: Request, began: float) -> dict[str, Any]:
        asked = await _read(request, ExplainRequest, settings)
        (judgement,) = await judged(request, asked, asked.passages(), served.explain_plan, began)
        return explained(asked, judgement, served.name)

    async def answered(request: Request, make: Callable[[float], Awaitable[Any]]) -> Response:
        began, path = time.monotonic(), request.url.path
        try:
            _allowed(request, api_key)
            response: Response = JSONResponse(await make(began))
            meters.seconds.labels(path).observe(time.monotonic() - began)
        except Refused as refused:
            content = {"message": refused.message, "detail": refused.message}
            response = JSONResponse(content, refused.status, refused.headers)
        meters.requests.labels(path, str(response.status_code)).inc()
        return response

    @app.post("/v1/rerank", openapi_extra=_body(RerankBody))
    async def rerank_v1(request: Request) -> Response:
        return await answered(request, lambda began: rerank(request, 1, began))

    @app.post("/v2/rerank", openapi_extra=_body(RerankBody))
    async def rerank_v2(request: Request) -> Response:
        return await answered(request, lambda began: rerank(request, 2, began))

    @app.post("/v1/explain", openapi_extra=_body(ExplainRequest))
    async def explain_v1(request: Request) -> Response:
        return await answered(request, lambda began: explain(request, began))

    @app.get("/healthz")
    async def healthz() -> Response:
        state = {"status": "ok" if desk.alive else "the engine has stopped", "model": served.name, "mode": served.mode}
        return JSONResponse(state | {"waiting": desk.waiting, "running": desk.running}, 200 if desk.alive else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        try:
            _allowed(request, api_key)
        except Refused as refused:
            return JSONResponse({"message": refused.message}, refused.status, refused.headers)
        return Response(meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/")
    async def page() -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        return HTMLResponse(PAGE.read_text(encoding="utf-8").replace("NONCE", nonce), headers=headers)

    app.state.desk = desk
    return app


def _body(model: type[Asked]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def _allowed(request: Request, api_key: str | None) -> None:
    given = request.headers.get("authorization", "")
    if api_key is not None and not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
        raise Refused(401, "send the server's key as Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})


async def _read(request: Request, model: type[Body], settings: ServeSettings) -> Body:
    """The body, read no further than the limit, and checked."""
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
        return model.model_validate(json.loads(body))
    except ClientDisconnect:
        raise Refused(499, "the client is gone") from None
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time", {"Connection": "close"}) from None
    except ValidationError as error:
        faults = error.errors()[:3]
        said = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in faults
        )
        raise Refused(422, said) from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON ({error})") from None


async def _unless_gone(request: Request, work: Any, seconds: float) -> Any:
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
