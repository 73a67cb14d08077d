"""A small Hugging Face hub on 127.0.0.1: the part of its HTTP API that a new repository and an upload take.

Regular files travel inside the commit, base64; those that `preupload` calls LFS (.parquet and .safetensors, as on the
hub) are put to an address of their own and verified by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_secretsecretsecret"


@dataclass
class Repo:
    """One dataset or model: whether it is private, its files, its commits' titles."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """The hub's memory; models' names begin with `models/` here. `log` holds (method, path, was the token right)."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str, bool]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub for as long as the block lasts."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _named(path: str) -> str:
    """What stands after the kind in an address of the API."""
    return path.removeprefix("/api/datasets/").removeprefix("/api/")


def _page(name: str) -> str:
    """Where people find it: models stand at the hub's top."""
    return name.removeprefix("models/") if name.startswith("models/") else f"datasets/{name}"


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, status: int, value: Any = None) -> None:
        body = json.dumps(value).encode() if value is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _begin(self) -> tuple[str, bytes, bool]:
        path = unquote(urlparse(self.path).path)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.state.log.append((self.command, path, allowed))
        return path, self._body(), allowed

    def do_PUT(self) -> None:
        path, body, _ = self._begin()
        self.state.objects[path.rpartition("/")[2]] = body
        self._answer(200)

    def do_GET(self) -> None:
        path, _, allowed = self._begin()
        name = _named(path).partition("/tree/")[0].partition("/revision/")[0]
        repo = self.state.repos.get(name)
        if not allowed:
            self._answer(401, {"error": "Invalid credentials"})
        elif repo is None:
            self._answer(404, {"error": "Repository not found"})
        elif "/tree/" in path:
            oid = "0" * 40
            self._answer(200, [{"type": "file", "path": p, "size": len(b), "oid": oid} for p, b in repo.files.items()])
        else:
            self._answer(200, {"id": name, "private": repo.private, "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        path, body, allowed = self._begin()
        if path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif not allowed:
            self._answer(401, {"error": "Invalid credentials"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif path == "/verify":
            self._answer(200 if json.loads(body)["oid"] in self.state.objects else 404, {})
        elif "/preupload/" in path:
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith((".parquet", ".safetensors")) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for f in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif "/commit/" in path:
            self._commit(_named(path).partition("/commit/")[0], body)
        else:
            self._answer(404, {"error": f"no route {path}"})

    def _create(self, asked: dict[str, Any]) -> None:
        owner = asked.get("organization") or "me"
        of = "" if asked.get("type") == "dataset" else "models/"
        name = f"{of}{owner}/{asked['name']}"
        if asked["name"].startswith("taken"):
            self._answer(403, {"error": f"You don't have the rights to create a dataset under {owner}"})
            return
        exists = name in self.state.repos
        self.state.repos.setdefault(name, Repo(private=asked.get("private", asked.get("visibility") == "private")))
        url = f"{self.state.url}/{_page(name)}"
        self._answer(409 if exists else 200, {"url": url, "error": "exists"} if exists else {"url": url})

    def _batch(self, asked: dict[str, Any]) -> None:
        def each(oid: str, size: int) -> dict[str, Any]:
            actions = {
                "upload": {"href": f"{self.state.url}/object/{oid}"},
                "verify": {"href": f"{self.state.url}/verify"},
            }
            return {"oid": oid, "size": size, "actions": actions}

        objects = [each(o["oid"], o["size"]) for o in asked["objects"]]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        repo = self.state.repos[name]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repo.commits.append(value["summary"])
            elif entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                data = self.state.objects[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                repo.files[value["path"]] = data
            elif entry["key"] == "deletedFile":
                del repo.files[value["path"]]
        url = f"{self.state.url}/{_page(name)}/commit/{'0' * 40}"
        self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""})
