"""The example's teacher behind HTTP: the OpenAI chat-completions protocol, on 127.0.0.1 only.

`serve` blocks (the command `distill example-teacher`); `running` keeps one in a child process for as long as a block
lasts. The child holds its parent's pipe as standard input and ends when it closes, so it outlives nobody, however its
parent ends.

Not covered: streaming, several choices, tools, logprobs. A request for streaming is refused with 400, not half served.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

from distill.example.teacher import Reply, Teacher, TeacherSettings
from distill.prompts import END_THINK, THINK

if TYPE_CHECKING:
    from aiohttp import web

CHARS_PER_TOKEN = 4  # usage is an estimate: this teacher has no tokenizer


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def _cut(reply: Reply, max_tokens: int | None) -> Reply:
    """The reply as far as `max_tokens` lets it go; a verdict and the closing tag count as two tokens."""
    if max_tokens is None or _tokens(reply.reasoning) + _answer_tokens(reply) <= max_tokens:
        return reply
    return Reply(reply.reasoning[: max(0, max_tokens) * CHARS_PER_TOKEN], "", False, "length", reply.fault)


def _answer_tokens(reply: Reply) -> int:
    return 2 if len(reply.verdict) <= 5 else _tokens(reply.verdict)


def _message(reply: Reply, reasoning_format: str) -> dict[str, Any]:
    """The assistant's message in one of the three forms that real servers use."""
    if reasoning_format == "inline":
        if not (reply.reasoning or reply.verdict):
            return {"role": "assistant", "content": ""}
        end = f"\n{END_THINK} {reply.verdict}" if reply.closed else f" {reply.verdict}".rstrip()
        return {"role": "assistant", "content": f"{THINK}\n{reply.reasoning}{end}"}
    if reply.closed:
        return {"role": "assistant", "content": reply.verdict, reasoning_format: reply.reasoning}
    # Without its end, all that was written is reasoning, and there is no answer.
    text = f"{reply.reasoning} {reply.verdict}".rstrip()
    return {"role": "assistant", "content": None, reasoning_format: text}


class _Handler:
    """The routes. State: the teacher, and how many requests were answered."""

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self.teacher = Teacher(settings)
        self.answered = 0
        self.started = int(time.time())

    def _error(self, status: int, message: str, code: str) -> web.Response:
        from aiohttp import web

        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        return web.json_response(body, status=status)

    def _refused(self, request: web.Request) -> web.Response | None:
        key = self.settings.api_key
        if key is None or request.headers.get("Authorization") == f"Bearer {key}":
            return None
        return self._error(401, "Incorrect API key provided.", "invalid_api_key")

    async def chat(self, request: web.Request) -> web.Response:
        """POST /v1/chat/completions."""
        from aiohttp import web

        refused = self._refused(request)
        if refused is not None:
            return refused
        try:
            body = json.loads(await request.read())
            model, content = body.get("model"), body["messages"][-1]["content"]
            seed, max_tokens = body.get("seed"), body.get("max_completion_tokens") or body.get("max_tokens")
            if not isinstance(content, str) or not isinstance(max_tokens, int | None):
                raise TypeError("messages[-1].content must be a string and max_tokens an integer")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return self._error(400, f"The request cannot be read: {error!r}", "bad_request")
        if model != self.settings.model:
            message = f"The model `{model}` does not exist; this server has `{self.settings.model}`."
            return self._error(404, message, "model_not_found")
        if body.get("stream"):
            return self._error(400, "Streaming is not offered here.", "unsupported_value")
        if self.settings.latency_s > 0:
            await asyncio.sleep(self._latency(f"{seed}\0{content}"))
        reply = _cut(self.teacher.reply(content, seed), max_tokens)
        self.answered += 1
        prompt_tokens = _tokens(content)
        completion_tokens = _tokens(reply.reasoning) + (_answer_tokens(reply) if reply.verdict else 0)
        answer = {
            "id": f"chatcmpl-{self.started:x}-{self.answered:x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.settings.model,
            "choices": [
                {
                    "index": 0,
                    "message": _message(reply, self.settings.reasoning_format),
                    "logprobs": None,
                    "finish_reason": reply.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
        return web.Response(body=json.dumps(answer).encode(), content_type="application/json")

    def _latency(self, key: str) -> float:
        """Log-normal with the mean that is set, drawn from the request, so that a run can be repeated."""
        sigma = self.settings.latency_sigma
        draws = random.Random(f"{self.settings.seed}\0{key}")
        return self.settings.latency_s * draws.lognormvariate(-sigma * sigma / 2, sigma)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        from aiohttp import web

        card = {"id": self.settings.model, "object": "model", "created": self.started, "owned_by": "distill"}
        return self._refused(request) or web.json_response({"object": "list", "data": [card]})

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        from aiohttp import web

        return web.json_response({"status": "ok", "answered": self.answered})


async def _serve(port: int, settings: TeacherSettings, ready: Callable[[int], object] | None) -> None:
    from aiohttp import web

    handler = _Handler(settings)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", handler.chat)
    app.router.add_get("/v1/models", handler.models)
    app.router.add_get("/health", handler.health)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    try:
        await site.start()
        if ready is not None:
            ready(runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def serve(port: int = 0, settings: TeacherSettings | None = None, ready: Callable[[int], object] | None = None) -> None:
    """Serve until interrupted; port 0 takes a free one. `ready` is called with the port once it listens.

    Raises OSError where the port is taken.
    """
    try:
        asyncio.run(_serve(port, settings or TeacherSettings(), ready))
    except KeyboardInterrupt:
        return


@contextmanager
def running(settings: TeacherSettings | None = None) -> Iterator[str]:
    """A teacher in a child process; the value is its base URL, with `/v1`. Ended by its handle at the end of the block.

    Raises RuntimeError where it does not come up.
    """
    command = [sys.executable, "-m", "distill.example.server", (settings or TeacherSettings()).model_dump_json()]
    # The child must find this package wherever the parent found it, installed or not.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline().strip()
            if not line.isdigit():
                status = child.wait(10)
                raise RuntimeError(f"the example teacher did not start (exit status {status}); see its output above")
            yield f"http://127.0.0.1:{line}/v1"
        finally:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()


def _end_with_parent() -> None:
    """End when standard input does: the other end of the pipe closes with the parent, even one killed with -9."""
    while os.read(0, 4096):  # not sys.stdin: a thread that waits in it is a fatal error as the interpreter ends
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(0, TeacherSettings.model_validate_json(sys.argv[1]), lambda port: print(port, flush=True))
