"""Batches that are refused, fail or come back damaged; and what is remembered of them between runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.errors import EndpointError, Stopped
from distill.records import Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for
from tests.teacher.http_servers import answering, certificate, completion
from tests.teacher.test_batch import Api, answer, api

__all__ = ["api"]  # the fixture

OutcomeOfLine = Callable[[int, dict[str, Any]], dict[str, Any]]


def refused_line(line: dict[str, Any], status: int, message: str, code: str = "x") -> dict[str, Any]:
    """A line of an error file."""
    body = {"error": {"message": message, "code": code}}
    return {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}}


def finish_by(outcome: OutcomeOfLine) -> Callable[[Api, dict[str, Any]], None]:
    """The API's end of a batch, each line as `outcome` says."""

    def finish(handler: Api, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in handler.files[batch["input_file_id"]].splitlines()]
        batch |= {"status": "completed", "output_file_id": f"{batch['id']}-out"}
        handler.files[batch["output_file_id"]] = "\n".join(
            json.dumps(outcome(number, line)) for number, line in enumerate(lines)
        )

    return finish


def fail_with(code: str, message: str) -> Callable[[Api, dict[str, Any]], None]:
    """The API's end of a batch that is refused as a whole."""

    def finish(handler: Api, batch: dict[str, Any]) -> None:
        batch |= {"status": "failed", "errors": {"object": "list", "data": [{"code": code, "message": message}]}}

    return finish


def folder_settings(folder: Path, **more: Any) -> TeacherSettings:
    """Settings by which files are only written and read."""
    return TeacherSettings.model_validate(
        {"source": "batch", "name": "local", "batch": {"folder": str(folder)}, **more}
    )


@pytest.fixture
def good() -> Iterator[Callable[[Api, dict[str, Any]], None]]:
    """Every line answered."""
    yield finish_by(lambda _, line: answer(line))


def test_a_line_that_cannot_be_read_is_counted_and_told_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = folder_settings(tmp_path / "files")
    with pytest.raises(Stopped):
        trace(make_pairs(6), settings, tmp_path / "traces", quiet=True)
    written = [json.loads(line) for line in (tmp_path / "files" / "00000.in.jsonl").read_text().splitlines()]
    lines = [json.dumps(answer(line)) for line in written]
    lines[2], lines[4] = lines[2][:40], json.dumps({"response": None})
    (tmp_path / "files" / "00000.out.jsonl").write_text("\n".join(lines))
    with pytest.raises(Stopped, match="00001.in.jsonl"):
        trace(make_pairs(6), settings, tmp_path / "traces")
    said = capfd.readouterr().err
    assert re.search(
        r"2 lines of its answers cannot be read \(line 3: JSONDecodeError.*, in .*00000\.out\.jsonl\)", said
    )
    assert "their requests are asked again" in said
    assert len((tmp_path / "files" / "00001.in.jsonl").read_text().splitlines()) == 2


def test_tries_are_remembered_between_runs(tmp_path: Path) -> None:
    settings = folder_settings(tmp_path / "files", attempts=2)
    for number in range(2):
        with pytest.raises(Stopped, match=f"0000{number}.in.jsonl"):
            trace(make_pairs(4), settings, tmp_path / "traces", quiet=True)
        (tmp_path / "files" / f"0000{number}.out.jsonl").write_text("\n")
    counts = trace(make_pairs(4), settings, tmp_path / "traces", quiet=True)
    assert counts["failures"] == {"batch": 4} and len(list((tmp_path / "files").glob("*.in.jsonl"))) == 2
    errors = {row.error for row in read_rows(tmp_path / "traces", Trace)}
    assert errors == {"batch: neither an answer nor an error in any file (after 2 attempts)"}
    with pytest.raises(Stopped, match=r"00002\.in\.jsonl"):  # asked for, they are tried again
        trace(make_pairs(4), settings, tmp_path / "traces", quiet=True, retry_failed=True)


def test_a_batch_that_is_refused_can_be_mended_and_counts_as_tried(
    api: tuple[type[Api], TeacherSettings],
    good: Callable[[Api, dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, settings = api
    settings = settings.model_copy(update={"attempts": 2})
    monkeypatch.setattr(handler, "_finish", fail_with("invalid_request", "line 1 has no model"))
    with pytest.raises(EndpointError, match="batch-0 .*was refused: invalid_request: line 1 has no model; mend it"):
        trace(make_pairs(5), settings, tmp_path, quiet=True)
    with pytest.raises(EndpointError, match="batch-1 "):
        trace(make_pairs(5), settings, tmp_path, quiet=True)
    counts = trace(make_pairs(5), settings, tmp_path, quiet=True)
    assert counts["failures"] == {"batch": 5} and len(handler.batches) == 2
    assert "batch-1 was refused" in str(next(iter(read_rows(tmp_path, Trace))).error)
    monkeypatch.setattr(handler, "_finish", good)
    assert trace(make_pairs(5), settings, tmp_path, quiet=True, retry_failed=True)["answered"] == 5


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("billing_hard_limit_reached", "Billing hard limit has been reached", "top it up"),
        ("token_limit_exceeded", "Enqueued token limit reached for m in organization x", "teacher.batch.lines"),
    ],
)
def test_a_batch_without_credit_or_room_stops_and_does_not_count_as_tried(
    api: tuple[type[Api], TeacherSettings],
    good: Callable[[Api, dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str,
    remedy: str,
) -> None:
    handler, settings = api
    settings = settings.model_copy(update={"attempts": 1})
    monkeypatch.setattr(handler, "_finish", fail_with(code, message))
    for _ in range(2):
        with pytest.raises(Stopped, match=f"{message}; .*{remedy}"):
            trace(make_pairs(5), settings, tmp_path, quiet=True)
    monkeypatch.setattr(handler, "_finish", good)
    counts = trace(make_pairs(5), settings, tmp_path, quiet=True)
    assert (counts["answered"], counts["failed"]) == (5, 0)


def test_credit_that_ends_within_a_batch_stops_and_keeps_what_was_answered(
    api: tuple[type[Api], TeacherSettings],
    good: Callable[[Api, dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, settings = api
    spent = "You exceeded your current quota, please check your plan and billing details."
    monkeypatch.setattr(
        handler,
        "_finish",
        finish_by(lambda n, line: answer(line) if n < 3 else refused_line(line, 429, spent, "insufficient_quota")),
    )
    with pytest.raises(Stopped, match="no_credit: .*insufficient_quota.*top it up"):
        trace(make_pairs(8), settings, tmp_path, quiet=True)
    monkeypatch.setattr(handler, "_finish", good)
    counts = trace(make_pairs(8), settings, tmp_path, quiet=True)
    assert (counts["answered"], counts["failed"], counts["asked_now"]) == (8, 0, 5)


def test_a_batch_in_which_every_line_is_refused_stops_and_fails_no_row(
    api: tuple[type[Api], TeacherSettings],
    good: Callable[[Api, dict[str, Any]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler, settings = api
    refusal = "Unsupported value: 'temperature' does not support 0.6 with this model."
    monkeypatch.setattr(handler, "_finish", finish_by(lambda _, line: refused_line(line, 400, refusal)))
    with pytest.raises(Stopped, match="first 8 requests have all failed alike: bad_request: .*temperature.*no row is"):
        trace(make_pairs(8), settings, tmp_path, quiet=True)
    monkeypatch.setattr(handler, "_finish", good)
    counts = trace(make_pairs(8), settings, tmp_path, quiet=True)
    assert (counts["answered"], counts["failed"]) == (8, 0)


def test_lines_that_fail_among_others_are_failed_rows(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = api
    monkeypatch.setattr(
        handler, "_finish", finish_by(lambda n, line: answer(line) if n == 7 else refused_line(line, 400, "no"))
    )
    counts = trace(make_pairs(8), settings, tmp_path, quiet=True)
    assert counts["failures"] == {"bad_request": 7} and counts["answered"] == 1


def test_answers_of_a_batch_without_a_verdict_stop_after_its_file(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = api
    monkeypatch.setattr(handler, "_finish", finish_by(lambda _, line: answer(line, "It speaks of fish.")))
    settings = settings.model_copy(update={"batch": settings.batch.model_copy(update={"lines": 60})})
    for _ in range(2):
        with pytest.raises(Stopped, match="hold no verdict that can be read"):
            trace(make_pairs(130), settings, tmp_path, quiet=True)
    assert len(handler.batches) == 1


def test_the_upload_tells_an_empty_account_and_an_untrusted_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    with answering(lambda _: completion(), certificate(tmp_path / "own.pem")) as (url, _):
        settings = settings_for(Server(url), source="batch")
        with pytest.raises(EndpointError, match="certificate of 127.0.0.1.*SSL_CERT_FILE"):
            trace(make_pairs(3), settings, tmp_path / "one", quiet=True)
    balance = 402, json.dumps({"error": {"message": "Insufficient Balance"}}), {}
    told = pytest.raises(Stopped, match="no_credit: HTTP 402: Insufficient Balance; .*top it up")
    with answering(lambda _: balance, on_get=lambda: balance) as (url, _), told:
        trace(make_pairs(3), settings_for(Server(url), source="batch"), tmp_path / "two", quiet=True)


def test_a_batch_whose_submission_got_no_answer_is_found_by_its_metadata(
    api: tuple[type[Api], TeacherSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, settings = api
    post = handler.do_POST

    def breaks_off(self: Api) -> None:
        """The first batch is made, and the connection ends."""
        if self.path.endswith("/batches") and not self.batches:
            monkeypatch.setattr(self, "_json", lambda value: None)
            self.close_connection = True
        post(self)

    monkeypatch.setattr(handler, "do_POST", breaks_off)
    counts = trace(make_pairs(4), settings, tmp_path, quiet=True)
    assert (counts["answered"], len(handler.batches)) == (4, 2), "the second batch asks what expired in the first"
    assert sorted(handler.asked.values()) == [1, 1, 2, 2]
