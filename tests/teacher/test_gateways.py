"""Gateways: headers and query of an endpoint, secret ones from the environment; keys that expire in a run."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from distill.errors import ConfigError, Stopped
from teacher.keys import Keys, digest_of, key_of_command
from teacher.messages import WorkerReport
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs
from tests.teacher.http_servers import completion
from tests.teacher.test_keys import files_with_key, what_ray_knows
from tests.teacher.test_settings import ENDPOINT, load

pytestmark = pytest.mark.usefixtures("ray_here")
SECRET = "planted-k3y-0123456789"  # what test_keys looks for in files and logs


class Gateway(BaseHTTPRequestHandler):
    """Answers whoever has the key that is valid now; each key is good for `uses` requests."""

    protocol_version = "HTTP/1.1"
    valid: str | None = None
    uses = 10**9
    count: dict[str, int]
    seen: list[tuple[str, dict[str, str]]]

    def do_POST(self) -> None:
        """A chat completion, or 401."""
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"].removeprefix("Bearer ")
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.count[key] = self.count.get(key, 0) + 1
        good = (self.valid is None or key.startswith(self.valid)) and self.count[key] <= self.uses
        said = f"the key {key} of {self.headers.get('X-Api-Key')} has expired"
        status, text, _ = completion() if good else (401, json.dumps({"error": {"message": said}}), {})
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@contextmanager
def gateway(valid: str | None = None, uses: int = 10**9) -> Iterator[tuple[str, Any]]:
    """A gateway's URL and its handler, with `seen` and `count`."""
    handler = type("Of", (Gateway,), {"valid": valid, "uses": uses, "count": {}, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", handler
    finally:
        server.shutdown()
        server.server_close()


def command(folder: Path, text: str = "print(f'key-{number}')") -> str:
    """A command that prints another key each time it is called, and keeps count in a file."""
    script = folder / "key.py"
    script.write_text(
        "import pathlib, sys\ncount = pathlib.Path(__file__).with_suffix('.count')\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\ncount.write_text(str(number))\n" + text + "\n"
    )
    return shlex.join([sys.executable, str(script)])


def calls(folder: Path) -> int:
    """How often the command was called."""
    return int((folder / "key.count").read_text())


def settings(url: str, **endpoint: Any) -> TeacherSettings:
    """Settings that name one endpoint."""
    return load(endpoints=[{"base_url": url, "model": "m", **endpoint}], concurrency=4, deadline_s=5)


def test_headers_and_query_are_sent_and_secret_ones_are_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from datetime import date

    monkeypatch.setenv("PLANTED", SECRET)
    with gateway() as (url, handler):
        headers = {"X-Team": "search", "X-Api-Key": {"env": "PLANTED"}}
        chosen = settings(url, headers=headers, query={"api-version": date(2024, 10, 21), "sig": {"env": "PLANTED"}})
        trace(make_pairs(3), chosen, tmp_path / "traces")
        for path, sent in handler.seen:
            assert path == f"/v1/chat/completions?api-version=2024-10-21&sig={SECRET}"
            assert (sent["x-team"], sent["x-api-key"]) == ("search", SECRET)
        assert len(handler.seen) == 4
        handler.valid = "nobody"
        with pytest.raises(Exception, match="unauthorized") as refused:
            trace(make_pairs(5), chosen, tmp_path / "traces")
    logs, tables = what_ray_knows()
    shown = "".join([*capfd.readouterr(), str(refused.value), repr(chosen), chosen.model_dump_json(), tables])
    assert SECRET not in shown and "[key]" in str(refused.value)
    assert not files_with_key(tmp_path, logs)
    assert chosen.identity() == settings(url).identity(), "a way there is no other teacher"


def test_a_key_that_expires_is_had_again_at_a_401_and_only_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gateway("key-", uses=9) as (url, handler):
        chosen = settings(url, api_key_command=command(tmp_path))
        result = trace(make_pairs(20), chosen, tmp_path / "traces", quiet=False)
        used = dict(handler.count)
    assert result["answered"] == 20 and result["failed"] == 0 and result["asked_now"] == 20
    assert calls(tmp_path) == len(used) == 3, "21 requests, nine a key"
    assert sum(min(count, 9) for count in used.values()) == 21, "each was answered once, with the preflight"
    assert capsys.readouterr().err.count("its key has expired") == 2


@pytest.mark.parametrize(
    "text, said",
    [
        ("print('key-1')", "gives the same key again, which is refused"),
        ("print('key-1' if number == 1 else '')", "has to print the key and nothing else"),
    ],
)
def test_where_no_other_key_is_to_be_had_the_run_stops_with_all_it_has(tmp_path: Path, text: str, said: str) -> None:
    with gateway("key-", uses=5) as (url, handler):
        chosen = settings(url, api_key_command=command(tmp_path, text))
        with pytest.raises(Stopped, match=r"no endpoint is left \(its key was refused") as stopped:
            trace(make_pairs(20), chosen, tmp_path / "traces", quiet=True)
        assert said in str(stopped.value) and "\n" not in str(stopped.value) and stopped.value.exit_code == 3
        assert calls(tmp_path) == 2
        handler.uses = 10**9
        again = settings(url, api_key_command=command(tmp_path, "print('key-9')"))
        result = trace(make_pairs(20), again, tmp_path / "traces", quiet=True)
    assert (result["answered"], result["asked_now"]) == (20, 16), "four answers were paid for, and kept"


def test_a_key_of_the_environment_that_is_refused_later_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", SECRET)
    said = "the key in PLANTED worked before and is refused now: put a valid one there"
    with gateway(uses=5) as (url, _), pytest.raises(Stopped, match=said):
        trace(make_pairs(20), settings(url, api_key_env="PLANTED"), tmp_path / "traces", quiet=True)


def test_workers_that_report_the_same_refused_key_share_one_renewal(tmp_path: Path) -> None:
    endpoints = settings(ENDPOINT["base_url"], api_key_command=command(tmp_path)).endpoints
    keys = Keys(endpoints, lambda text: None)
    refused = WorkerReport(expired={0: digest_of("key-1")}, accepted={digest_of("key-1")})
    given = [keys.renewed(refused)[0] for _ in range(3)]
    assert [key and key.get_secret_value() for key in given] == ["key-2"] * 3 and calls(tmp_path) == 2


@pytest.mark.parametrize(
    "text, worked, said",
    [
        ("print('key-1')", True, "gives the same key again"),
        ("print('key', number, sep='-')", False, "refused as soon as it is used"),
        ("print('key-1') if number == 1 else sys.exit('no login')", True, "ended with status 1: no login"),
    ],
)
def test_why_there_is_no_other_key_is_said(tmp_path: Path, text: str, worked: bool, said: str) -> None:
    lines: list[str] = []
    keys = Keys(settings(ENDPOINT["base_url"], api_key_command=command(tmp_path, text)).endpoints, lines.append)
    digest = digest_of("key-1")
    assert keys.renewed(WorkerReport(expired={0: digest}, accepted={digest} if worked else set())) == {0: None}
    assert keys.renewed(WorkerReport(expired={0: digest})) == {0: None}, "it is not called again"
    assert len(lines) == 1 and said in lines[0] and "key-1" not in lines[0]
    assert calls(tmp_path) == (2 if worked else 1)


@pytest.mark.parametrize(
    "endpoint, said",
    [
        ({"api_key_env": "A", "api_key_command": "b"}, "api_key_env and api_key_command both give the key"),
        ({"headers": {"Authorization": "Basic xyz"}}, "headers.Authorization: keys do not belong in the file"),
        ({"query": {"key": "xyz"}}, "query.key: keys do not belong in the file"),
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(endpoint: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(endpoints=[{**ENDPOINT, **endpoint}])
    assert said in str(refused.value) and "xyz" not in str(refused.value)


def test_a_command_that_gives_no_key_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, said in (("print('a b')", "has to print the key and nothing else"), ("", "has to print"),
                       ("sys.exit(3)", "ended with status 3")):  # fmt: skip
        with pytest.raises(ConfigError, match=said) as refused:
            settings(ENDPOINT["base_url"], api_key_command=command(tmp_path, text)).endpoints[0].secret(0)
        assert "teacher.endpoints.0.api_key_command" in str(refused.value)
    monkeypatch.setattr("teacher.keys.COMMAND_S", 0.2)
    with pytest.raises(ConfigError, match=r"endpoints\.0: 'sleep 60' gave no key within 0\.2 s"):
        key_of_command("sleep 60", "teacher.endpoints.0")
    with pytest.raises(ConfigError, match="cannot be run"):
        settings(ENDPOINT["base_url"], api_key_command="no-such-program").endpoints[0].secret(0)
