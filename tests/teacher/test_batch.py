"""The Batch API against a fake of it over HTTP, and files for `vllm run-batch`."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from distill.errors import EndpointError, Stopped
from distill.records import Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for


def answer(line: dict[str, Any], content: str = "true") -> dict[str, Any]:
    """A line of an output file."""
    message = {"role": "assistant", "content": content, "reasoning_content": f"about {line['custom_id']}"}
    usage = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
    body = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


class Api(BaseHTTPRequestHandler):
    """Files and batches; the first batch of a run expires half-way, and some lines fail."""

    files: dict[str, str]
    batches: dict[str, dict[str, Any]]
    asked: Counter[str]
    refuse = False

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """A file's content, a batch, or all batches."""
        if found := re.search(r"/files/([^/]+)/content", self.path):
            return self._send(self.files[found[1]].encode())
        if found := re.search(r"/batches/([^/?]+)", self.path):
            batch = self.batches[found[1]]
            batch["polls"] = batch.get("polls", 0) + 1
            if batch["polls"] >= 2 and batch["status"] == "in_progress":
                self._finish(batch)
            return self._json(batch)
        self._json({"object": "list", "data": list(self.batches.values()), "has_more": False})

    def do_POST(self) -> None:
        """An upload, or a new batch."""
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/files"):
            text = re.search(rb"\r\n\r\n(\{.*?)\r\n--", raw, re.DOTALL)
            assert text is not None
            name = f"file-{len(self.files)}"
            self.files[name] = text[1].decode()
            return self._json({"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch", "status": "processed"})  # fmt: skip # noqa: E501
        body = json.loads(raw)
        batch = {"id": f"batch-{len(self.batches)}", "object": "batch", "status": "in_progress", "created_at": 0}
        batch |= {k: body[k] for k in ("endpoint", "input_file_id", "completion_window", "metadata")}
        self.batches[batch["id"]] = batch
        self._json(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        good, bad = [], []
        for number, line in enumerate(lines):
            self.asked[line["custom_id"]] += 1
            first = len(self.batches) == 1
            if first and number >= len(lines) // 2:
                bad.append({"custom_id": line["custom_id"], "error": {"code": "batch_expired", "message": "expired"}})
            elif first and number % 7 == 3:
                bad.append({"custom_id": line["custom_id"], "response": {"status_code": 500, "body": {"error": "x"}}})
            elif number % 10 == 5 and first:
                body = {"error": {"message": "maximum context length is 10 tokens"}}
                bad.append({"custom_id": line["custom_id"], "response": {"status_code": 400, "body": body}})
            else:
                good.append(answer(line))
        random.Random(0).shuffle(good)
        batch["status"] = "expired" if len(self.batches) == 1 else "completed"
        for kind, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[kind] = f"{batch['id']}-{kind}"
                self.files[batch[kind]] = "\n".join(map(json.dumps, rows))

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode())

    def _send(self, raw: bytes) -> None:
        self.send_response(401 if self.refuse else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def api() -> Iterator[tuple[type[Api], TeacherSettings]]:
    """A fresh API and settings that name it."""
    handler = type("Handler", (Api,), {"files": {}, "batches": {}, "asked": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield handler, settings_for(Server(url), source="batch", batch={"poll_s": 0.01, "lines": 50})
    server.shutdown()
    server.server_close()


def test_only_what_expired_or_failed_is_asked_again(api: tuple[type[Api], TeacherSettings], tmp_path: Path) -> None:
    handler, settings = api
    counts = trace(make_pairs(40), settings, tmp_path, quiet=True)
    rows = list(read_rows(tmp_path, Trace))
    assert len(rows) == 40 and counts["answered"] + counts["failed"] == 40
    assert all(row.reasoning == f"about {row.request_id}" and row.verdict == 1 for row in rows if not row.error)
    assert counts["failures"] == {"context_too_long": 2}
    assert Counter(handler.asked.values()) == {1: 17, 2: 23}  # 20 expired, 3 failed with status 500
    assert counts["cost_usd"] == pytest.approx(38 * 0.5 * (100 * 1.0 + 40 * 2.0) / 1e6)
    again = trace(make_pairs(40), settings, tmp_path, quiet=True)
    assert again["asked_now"] == 0 and again["data_hash"] == counts["data_hash"] and len(handler.batches) == 2


def test_more_lines_than_a_file_may_hold_are_several_files(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path
) -> None:
    handler, settings = api
    assert trace(make_pairs(120), settings, tmp_path, quiet=True)["rows"] == 120
    assert all(len(text.splitlines()) <= 50 for name, text in handler.files.items() if name.startswith("file-"))


def test_a_batch_under_way_is_found_again_and_not_submitted_twice(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = api

    def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("teacher.sources.batch.time.sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            trace(make_pairs(30), settings, tmp_path, quiet=True)
    assert len(handler.batches) == 1
    (tmp_path / "batch" / "00000.state.jsonl").unlink()  # killed between the submission and the note of it
    counts = trace(make_pairs(30), settings, tmp_path, quiet=True)
    assert counts["rows"] == 30
    assert len(handler.batches) == 2  # the first, and one for what expired in it


def test_a_refused_key_is_exit_2(api: tuple[type[Api], TeacherSettings], tmp_path: Path) -> None:
    handler, settings = api
    handler.refuse = True
    with pytest.raises(EndpointError, match=r"teacher\.endpoints\.0 .*unauthorized"):
        trace(make_pairs(3), settings, tmp_path, quiet=True)


def test_a_model_without_reasoning_is_told_after_the_first_file(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = api
    plain = answer

    def without(line: dict[str, Any]) -> dict[str, Any]:
        found = plain(line)
        del found["response"]["body"]["choices"][0]["message"]["reasoning_content"]
        return found

    monkeypatch.setattr(f"{__name__}.answer", without)
    settings = settings.model_copy(update={"batch": settings.batch.model_copy(update={"lines": 100})})
    with pytest.raises(EndpointError, match="hold no reasoning"):
        trace(make_pairs(300), settings, tmp_path, quiet=True)
    assert len(handler.batches) == 1


def test_a_budget_bounds_what_is_submitted(api: tuple[type[Api], TeacherSettings], tmp_path: Path) -> None:
    handler, settings = api
    tight = settings.model_copy(update={"budget_tokens": 5_000})
    with pytest.raises(Stopped, match="does not bear another batch"):
        trace(make_pairs(100), tight, tmp_path, quiet=True)
    answered = sum(len(text.splitlines()) for name, text in handler.files.items() if name.endswith("output_file_id"))
    assert 0 < answered * 140 <= 5_000


def test_files_for_vllm_run_batch_are_written_and_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    settings = TeacherSettings.model_validate(
        {"source": "batch", "name": "local", "batch": {"folder": str(folder)}, "attempts": 2}
    )
    with pytest.raises(Stopped, match="vllm run-batch"):
        trace(make_pairs(10), settings, tmp_path / "traces", quiet=True)
    written = [json.loads(line) for line in (folder / "00000.in.jsonl").read_text().splitlines()]
    assert all(line["url"] == "/v1/chat/completions" and line["method"] == "POST" for line in written)
    (folder / "00000.out.jsonl").write_text("\n".join(json.dumps(answer(line)) for line in written[:7]))
    with pytest.raises(Stopped, match="00001.in.jsonl"):
        trace(make_pairs(10), settings, tmp_path / "traces", quiet=True)
    left = [json.loads(line) for line in (folder / "00001.in.jsonl").read_text().splitlines()]
    assert {line["custom_id"] for line in left} == {line["custom_id"] for line in written[7:]}
    (folder / "00001.out.jsonl").write_text("\n".join(json.dumps(answer(line)) for line in left))
    assert trace(make_pairs(10), settings, tmp_path / "traces", quiet=True)["answered"] == 10


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0c"])
def test_an_answer_may_hold_what_other_formats_end_lines_with(tmp_path: Path, mark: str) -> None:
    """JSON allows these within a text, and some servers write them unescaped; a byte-order mark may come first."""
    folder = tmp_path / "files"
    settings = TeacherSettings.model_validate({"source": "batch", "name": "local", "batch": {"folder": str(folder)}})
    with pytest.raises(Stopped):
        trace(make_pairs(3), settings, tmp_path / "traces", quiet=True)
    asked = [json.loads(line) for line in (folder / "00000.in.jsonl").read_text().splitlines()]
    lines = [json.dumps(answer(line, f"{mark}true"), ensure_ascii=mark == "\x0c") for line in asked]
    (folder / "00000.out.jsonl").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    assert trace(make_pairs(3), settings, tmp_path / "traces", quiet=True)["answered"] == 3


def test_lines_that_cannot_be_read_are_told_and_their_requests_asked_again_up_to_the_attempts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files"
    settings = TeacherSettings.model_validate(
        {"source": "batch", "name": "local", "batch": {"folder": str(folder)}, "attempts": 2}
    )
    with pytest.raises(Stopped):
        trace(make_pairs(6), settings, tmp_path / "traces")
    asked = [json.loads(line) for line in (folder / "00000.in.jsonl").read_text().splitlines()]
    good = [json.dumps(answer(line)) for line in asked]
    spoilt = [good[0], good[1][:50], '{"custom_id": 3, "response": "x"}', "[]", *good[4:]]
    (folder / "00000.out.jsonl").write_bytes("\n".join(spoilt).encode() + b"\n\xff\xfe not UTF-8\n")
    with pytest.raises(Stopped, match=r"00001\.in\.jsonl"):
        trace(make_pairs(6), settings, tmp_path / "traces")
    told = capsys.readouterr().err
    assert "00000.in.jsonl: 4 lines of its answers cannot be read (line 2: JSONDecodeError" in told
    assert len((folder / "00001.in.jsonl").read_text().splitlines()) == 3
    (folder / "00001.out.jsonl").write_text("")  # a session of its own: what was tried before is in the files
    counts = trace(make_pairs(6), settings, tmp_path / "traces", quiet=True)
    assert (counts["answered"], counts["failures"]) == (3, {"batch": 3}) and not (folder / "00002.in.jsonl").exists()


def test_bodies_as_text_and_without_a_status_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    settings = TeacherSettings.model_validate({"source": "batch", "name": "local", "batch": {"folder": str(folder)}})
    with pytest.raises(Stopped):
        trace(make_pairs(2), settings, tmp_path / "traces", quiet=True)
    asked = [json.loads(line) for line in (folder / "00000.in.jsonl").read_text().splitlines()]
    lines = [answer(line) for line in asked]
    lines[0]["response"]["body"] = json.dumps(lines[0]["response"]["body"])
    del lines[1]["response"]["status_code"]
    (folder / "00000.out.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert trace(make_pairs(2), settings, tmp_path / "traces", quiet=True)["answered"] == 2
