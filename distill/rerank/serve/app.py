"""The routes: read and check, judge, answer; every refusal is JSON with a status that a client understands.

Documents and queries are data: they go into the prompt's fields and back as JSON, nowhere else. Not covered: TLS and
accounts; put a gateway in front where the server is to be reached from beyond the machine.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.background import BackgroundTask
from starlette.middleware.trustedhost import TrustedHostMiddleware

from distill import __version__
from distill.rerank.serve import judge
from distill.rerank.serve.answers import bare, scored
from distill.rerank.serve.faults import Refused
from distill.rerank.serve.http import Json, allowed, checked, read, request_id, unless_gone
from distill.rerank.serve.meters import Meters
from distill.rerank.serve.page import page_with
from distill.rerank.serve.schemas import Asked, ExplainRequest, RerankBody, ScoreBody, TextsBody
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.shadow import Answered, Shadow
from distill.rerank.serve.students import Served, Students
from distill.rerank.serve.tracing import instrument

LOCAL = ["127.0.0.1", "localhost", "[::1]"]


def make_app(
    served: Served | Sequence[Served],
    settings: ServeSettings | None = None,
    api_key: str | None = None,
    hosts: list[str] | None = None,
    shadow: tuple[Served, Path] | None = None,
) -> FastAPI:
    """The application; its `state.students` are `Students`. With `hosts`, requests to other names are refused, so that
    no web page reaches a server on this machine under a name of its own (DNS rebinding). `shadow` is a second student,
    which judges a share of the traffic once it is answered, and the log of what it found."""
    settings = settings or ServeSettings()
    students = Students([served] if isinstance(served, Served) else served, settings)
    meters = Meters(lambda: [student.thread for student in students])
    second = shadow and Shadow(
        shadow[0],
        settings,
        shadow[1],
        lambda: students.waiting > 0,
        lambda outcome: meters.shadow.labels(outcome).inc(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.loop = asyncio.get_running_loop()
        students.start()
        if second is not None:
            second.start()
        yield
        if second is not None:
            await second.stop()
        await asyncio.to_thread(students.stop)

    app = FastAPI(title="distill serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    async def judged(request: Request, asked: Asked, began: float, explain: bool = False) -> judge.Judged:
        """The student that a request is for, and its judgements. Raises Refused."""
        client = request.client.host if request.client else ""
        try:
            found = await judge.judged(
                students, settings, asked, began, client, explain, lambda work, left: unless_gone(request, work, left)
            )
        except ConnectionError:
            meters.given_up.labels("client gone").inc()
            raise Refused(499, "the client is gone") from None
        except Refused as refused:
            if refused.status == 504:
                meters.given_up.labels("deadline").inc()
            raise
        meters.judged(found[1])
        if second is not None and not explain:
            request.state.answered = Answered(asked, found, request_id(request))
        return found

    async def rerank(request: Request, version: int, began: float) -> Any:
        body = await read(request, settings)
        if request.url.path == "/rerank" and "texts" in body and "documents" not in body:
            texts = checked(TextsBody, body)
            return bare(texts, (await judged(request, texts, began))[1])
        asked = checked(RerankBody, body)
        return judge.rerank_answer(asked, await judged(request, asked, began), version, request_id(request))

    async def score(request: Request, began: float) -> Any:
        asked = checked(ScoreBody, await read(request, settings))
        served, judgements = await judged(request, asked, began)
        return scored(asked, judgements, served.name, request_id(request))

    async def explain(request: Request, began: float) -> Any:
        asked = checked(ExplainRequest, await read(request, settings))
        return judge.explain_answer(asked, await judged(request, asked, began, explain=True))

    async def answered(request: Request, make: Callable[[float], Awaitable[Any]]) -> Response:
        began, path = time.monotonic(), request.url.path
        try:
            allowed(request, api_key)
            response: Response = Json(await make(began))
            if second is not None and hasattr(request.state, "answered"):  # offered once the answer is sent
                response.background = BackgroundTask(second.offer, request.state.answered)
            meters.seconds.labels(path).observe(time.monotonic() - began)
        except Refused as refused:
            content = {"message": refused.message, "detail": refused.message}
            response = Json(content, refused.status, refused.headers)
        meters.requests.labels(path, str(response.status_code)).inc()
        if named := request_id(request):
            response.headers["X-Request-Id"] = named
        return response

    @app.post("/rerank", openapi_extra=_body(RerankBody, TextsBody))
    @app.post("/v1/rerank", openapi_extra=_body(RerankBody))
    async def rerank_v1(request: Request) -> Response:
        return await answered(request, lambda began: rerank(request, 1, began))

    @app.post("/v2/rerank", openapi_extra=_body(RerankBody))
    async def rerank_v2(request: Request) -> Response:
        return await answered(request, lambda began: rerank(request, 2, began))

    @app.post("/score", openapi_extra=_body(ScoreBody))
    @app.post("/v1/score", openapi_extra=_body(ScoreBody))
    async def score_v1(request: Request) -> Response:
        return await answered(request, lambda began: score(request, began))

    @app.post("/v1/explain", openapi_extra=_body(ExplainRequest))
    async def explain_v1(request: Request) -> Response:
        return await answered(request, lambda began: explain(request, began))

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        return await shown_to(request, {"object": "list", "data": [model_card(student.served) for student in students]})

    @app.get("/info")
    async def info(request: Request) -> Response:
        return await shown_to(request, about([student.served for student in students], settings))

    async def shown_to(request: Request, content: dict[str, Any]) -> Response:
        try:
            allowed(request, api_key)
        except Refused as refused:
            return Json({"message": refused.message}, refused.status, refused.headers)
        return Json(content)

    @app.get("/health")
    @app.get("/healthz")
    async def healthz() -> Response:
        alive, first = students.alive, students.first
        state: dict[str, Any] = {"status": "ok" if alive else "the engine has stopped", "model": first.served.name}
        state |= {"mode": first.served.mode} | ({"models": names} if len(names := students.names) > 1 else {})
        state["waiting"] = students.waiting
        state["running"] = sum(each.thread.running for each in students)
        return JSONResponse(state, 200 if alive else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        try:
            allowed(request, api_key)
        except Refused as refused:
            return Json({"message": refused.message}, refused.status, refused.headers)
        return Response(meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/")
    async def page() -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        headers = {"Content-Security-Policy": f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        return HTMLResponse(page_with(students.first.served.example, nonce), headers=headers)

    app.state.students = students
    instrument(app)
    return app


def model_card(served: Served) -> dict[str, Any]:
    """A student as OpenAI's list of models has it, with what can be asked of it."""
    about_it = {"mode": served.mode, "context": served.context, "calibrated": served.calibrated}
    return {"id": served.name, "object": "model", "created": 0, "owned_by": "rerank-distill", **about_it}


def about(students: Sequence[Served], settings: ServeSettings) -> dict[str, Any]:
    """What `/info` says: the keys of Text Embeddings Inference, the students, and every limit."""
    first = students[0]
    return {
        "model_id": first.name,
        "model_type": {"reranker": {"id2label": {"0": "relevance"}, "label2id": {"relevance": 0}}},
        "max_input_length": first.context,
        "max_client_batch_size": settings.max_documents,
        "version": __version__,
        "models": [model_card(served) for served in students],
        "limits": settings.model_dump(),
    }


def _body(*models: type[Asked]) -> dict[str, Any]:
    schemas = [model.model_json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
