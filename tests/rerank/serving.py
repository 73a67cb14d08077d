"""A server in a thread of the test, and an engine whose scores say which pair they belong to."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.errors import InputError
from distill.records import Judgement, Pair
from distill.rerank.serve.app import LOCAL, make_app
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.students import Served

WAIT_S = 60  # for what must happen; nothing is asserted about how soon


def score_of(query: str, passage: str) -> float:
    """A score that belongs to these two texts alone."""
    return int.from_bytes(hashlib.sha256(f"{query}\0{passage}".encode()).digest()[:6]) / 2**48


class Scripted:
    """An engine that judges one pair of each request a step. `gate` holds it; `breaks` steps fail first."""

    def __init__(self, breaks: int = 0) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.breaks = breaks
        self.steps, self.most = 0, 0
        self.cancelled: list[Any] = []
        self.order: list[str] = []
        self._open: dict[int, tuple[Sequence[Pair], Any, Any, deque[int]]] = {}
        self._next = 0

    @property
    def running(self) -> int:
        """Requests inside."""
        return len(self._open)

    def submit(self, pairs: Sequence[Pair], done: Any, one: Any = None, plan: Any = None) -> int:
        """Take a request in; a query `unjudgeable` is refused when it is judged."""
        self._next += 1
        self._open[self._next] = (pairs, done, one, deque(range(len(pairs))))
        self.most = max(self.most, len(self._open))
        return self._next

    def cancel(self, ticket: int) -> None:
        """Forget a request."""
        self.cancelled.append(ticket)
        self._open.pop(ticket, None)

    def clear(self) -> None:
        """Forget all."""
        self._open.clear()

    def step(self) -> bool:
        """One pair of each request; while the gate is shut, nothing, though slowly."""
        if not self.gate.wait(0.01):
            return bool(self._open)
        self.steps += 1
        if self.breaks and self._open:
            self.breaks -= 1
            raise RuntimeError("out of memory")
        for ticket, (pairs, done, one, left) in list(self._open.items()):
            at = left.popleft()
            pair = pairs[at]
            if pair.query == "unjudgeable":
                del self._open[ticket]
                done(InputError("it alone is longer than the student's 256 tokens"))
                continue
            score = score_of(pair.query, pair.passage)
            self.order.append(pair.query)
            one(at, Judgement("0", str(at), score, score * 8 - 4, int(score > 0.5), "because", "think", 7, "stop"))
            if not left:
                del self._open[ticket]
                done(None)
        return bool(self._open)


@contextmanager
def serving(
    engine: Any,
    settings: ServeSettings | None = None,
    api_key: str | None = None,
    explain_plan: Any = None,
    fusion: Any = None,
    cut: Any = None,
    timed: Any = None,
    others: Sequence[Served] = (),
    shadow: tuple[Served, Path] | None = None,
) -> Iterator[Any]:
    """A uvicorn server on a free port; has `.url`, `.desk`, `.students` and, to stop it gracefully, `.should_exit`."""
    import uvicorn

    first = Served(engine, "my-student", "think", explain_plan, fusion, cut, timed)
    app = make_app([first, *others], settings, api_key, LOCAL, shadow)
    drain = int((settings or ServeSettings()).drain_s)
    config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=drain, backlog=2048)
    server: Any = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        server.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.students, server.thread = app.state.students, thread
        server.desk, server.students_loop = server.students.first.thread, app.state.loop
        yield server
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the server did not end"


def until(met: Callable[[], Any]) -> None:
    """Wait until `met()` is true."""
    import time

    deadline = time.monotonic() + WAIT_S
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """(status, JSON, headers) of a request; `body` is sent as it is where it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text, error.headers


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str, Any]:
    """(status, text, headers) of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=WAIT_S) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers
