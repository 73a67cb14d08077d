"""The trace viewer on localhost: the page, its index, texts by rows, search, and decisions that go to the run folder.

Bound to 127.0.0.1; `host_names` are further names under which a tunnel brings a browser here. Every address starts with
a secret that only the owner of the run folder can read, and requests whose Host or Origin is another site's are
refused; so neither other users of the machine nor pages of other sites get in. Not covered: an encrypted connection,
several machines.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from distill.config import made_of
from distill.errors import DataError, InputError
from distill.report.adjudication import Adjudications, agreement
from distill.report.traces import Traces
from distill.report.viewer import load, shell

MAX_ROWS = 500
MAX_BODY = 64 << 10


def serve(run: Path, port: int = 0, ready: Callable[[str], None] = print, host_names: Sequence[str] = ()) -> None:
    """Serve the run's traces until interrupted; `ready` gets the address (port 0 takes a free one).

    `host_names` are NAME (at any port) or NAME:PORT, as the browser's address has it behind a tunnel.

    Raises RunFolderError where there are no traces, DataError for a damaged adjudication.jsonl, InputError where the
    port is taken.
    """
    with make_server(run, port, host_names) as server:
        ready(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def make_server(run: Path, port: int = 0, host_names: Sequence[str] = ()) -> ViewerServer:
    """The server, listening but not yet answering."""
    run = Path(run)
    traces, decided = load(run), Adjudications(run)
    decided.read()
    try:
        return ViewerServer(port, _secret(run), traces, decided, host_names)
    except OSError as error:
        raise InputError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from None


class ViewerServer(ThreadingHTTPServer):
    """What the handlers share."""

    daemon_threads = True

    def __init__(
        self, port: int, secret: str, traces: Traces, decided: Adjudications, host_names: Sequence[str] = ()
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.prefix, self.traces, self.decided = f"/{secret}/", traces, decided
        self._hosts = {*(f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")), *host_names}
        self._names = {name for name in host_names if ":" not in name}
        self.page = shell(name=traces.files.name).encode("utf-8")
        of_server = {"reviewer": os.environ.get("USER", ""), "command": command(decided.path.parent)}
        of_server["copy"] = str((decided.path.parent / "config.yaml").resolve())
        self.index = json.dumps({**traces.index(), **of_server}, separators=(",", ":")).encode("utf-8")

    def serves(self, host: str) -> bool:
        """Whether a Host header, NAME or NAME:PORT, is one of this server's."""
        return host in self._hosts or host.rpartition(":")[0] in self._names

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: ViewerServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, or data."""
        url = urlsplit(self.path)
        name = self._allowed(url.path)
        asked = parse_qs(url.query)
        if name is None:
            return
        if name == "":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif name == "index.json":
            self._send(self.server.index)
        elif name == "decided.json":
            self._answer(self.server.decided.all)
        elif name == "agreement.json":
            self._answer(lambda: agreement(self.server.decided.all()))
        elif name == "texts.json":
            self._answer(lambda: self.server.traces.texts([int(r) for r in asked["rows"][0].split(",")[:MAX_ROWS]]))
        elif name == "search.json":
            self._answer(lambda: self.server.traces.search(asked.get("words", [""])[0][:1000]))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """A decision."""
        name = self._allowed(urlsplit(self.path).path)
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        origin = self.headers.get("Origin")
        if name != "decide" or self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "decisions are JSON, posted to decide")
        elif not self.server.serves(urlsplit(origin or "").netloc):
            self._refuse(HTTPStatus.FORBIDDEN, "decisions come from the viewer's own page")
        elif not length.isdigit() or int(length) > MAX_BODY:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a decision is short")
        else:
            body = self.rfile.read(int(length))
            self._answer(lambda: self.server.decided.change(json.loads(body)))

    def _allowed(self, path: str) -> str | None:
        """What is asked for under the secret; None, and the request refused, where host or secret is wrong."""
        host = self.headers.get("Host", "")
        if not self.server.serves(host):
            text = f"this server answers as 127.0.0.1 only; behind a tunnel start `distill view --host-name {host}`"
            self._refuse(HTTPStatus.FORBIDDEN, text)
            return None
        prefix = self.server.prefix
        if not hmac.compare_digest(path[: len(prefix)].encode(), prefix.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "open the address that `distill view` printed")
            return None
        return path[len(prefix) :]

    def _answer(self, make: Callable[[], Any]) -> None:
        try:
            value = make()
        except (ValueError, KeyError, IndexError, DataError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._send(json.dumps(value, separators=(",", ":")).encode("utf-8"))

    def _send(self, body: bytes, kind: str = "application/json", status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = True
        self._send(json.dumps({"error": text}).encode("utf-8"), status=status)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to the person who reviews."""


def command(run: Path) -> str:
    """What `distill filter` and `distill run` get to carry decisions out: the file that the run was made from, and the
    settings that its command added."""
    return f"{shlex.join(made_of(run))} --out {shlex.quote(str(run))}"


def _secret(run: Path) -> str:
    """The run's own secret, made once and readable by its owner only, so that a deep link holds the next day too."""
    path = run / ".viewer-secret"
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(18))
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii").strip()
