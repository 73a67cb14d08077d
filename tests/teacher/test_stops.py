"""When asking stops by itself: no readable verdict, everything refused; and what is said of single failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.errors import Stopped
from distill.records import Trace
from distill.store import read_rows
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for
from tests.teacher.http_servers import Reply, answering, completion

TOO_LONG: Reply = (400, '{"error": {"message": "maximum context length is 512 tokens, you asked for 700"}}', {})


def is_probe(body: dict[str, Any]) -> bool:
    """Whether a request is the first probe."""
    return "is water wet" in body["messages"][0]["content"]


def test_answers_without_a_readable_verdict_are_shown_and_the_first_50_stop_the_run(
    ray_here: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vague = completion("The passage speaks of fish " + "and of more fish " * 20)
    with answering(lambda _: vague) as (url, received):
        settings = settings_for(Server(url), concurrency=4)
        with pytest.raises(Stopped) as stopped:
            trace(make_pairs(30) + make_pairs(300)[200:], settings, tmp_path)
        said, asked = str(stopped.value), len(received)
        assert (
            said.startswith("teacher: 5")
            and "hold no verdict that can be read" in said
            and stopped.value.exit_code == 3
        )
        assert said.count("The passage speaks of fish") == 3 and "teacher.require_verdict: false" in said
        assert "…" in said and 51 <= asked <= 51 + 4 + 8
        assert "3 of the first 3 answers hold no verdict that can be read" in capfd.readouterr().err
        with pytest.raises(Stopped, match="hold no verdict"):  # the answers in the journal count
            trace(make_pairs(30) + make_pairs(300)[200:], settings, tmp_path, quiet=True)
        assert len(received) == asked
        settings = settings_for(Server(url), concurrency=4, require_verdict=False)
        counts = trace(make_pairs(30) + make_pairs(300)[200:], settings, tmp_path, quiet=True)
    assert counts["answered"] == counts["samples_due"] and len(received) == counts["samples_due"] + 2  # two probes


def test_one_readable_verdict_among_the_first_lets_the_run_go_on(ray_here: None, tmp_path: Path) -> None:
    def rarely(body: dict[str, Any]) -> Reply:
        return completion("true" if "passage 7 of" in json.dumps(body) else "It speaks of fish.")

    with answering(rarely) as (url, _):
        pairs = sorted(make_pairs(80), key=lambda pair: pair.doc_id != "d7")
        counts = trace(pairs, settings_for(Server(url), concurrency=4), tmp_path, quiet=True)
    assert (counts["answered"], counts["unreadable_now"]) == (80, 79)


def test_answers_cut_off_name_max_tokens_as_the_remedy(ray_here: None, tmp_path: Path) -> None:
    with answering(lambda _: completion("", finish="length")) as (url, _), pytest.raises(Stopped, match="max_tokens"):
        trace(make_pairs(60), settings_for(Server(url), concurrency=4), tmp_path, quiet=True)


@pytest.mark.parametrize("count", [5, 200])
def test_a_server_that_refuses_every_row_alike_stops_the_run_and_marks_none_as_failed(
    ray_here: None, tmp_path: Path, count: int
) -> None:
    refusing = True

    def respond(body: dict[str, Any]) -> Reply:
        return TOO_LONG if refusing and not is_probe(body) else completion()

    with answering(respond) as (url, received):
        settings = settings_for(Server(url), concurrency=4)
        with pytest.raises(Stopped, match=r"failed alike: context_too_long: .*512 tokens.*teacher\.context.*no row is"):
            trace(make_pairs(count), settings, tmp_path, quiet=True)
        assert len(received) <= 1 + 50 + 12
        refusing = False
        counts = trace(make_pairs(count), settings, tmp_path, quiet=True)
    assert (counts["answered"], counts["failed"], counts["asked_now"]) == (count, 0, count)


def test_rows_that_fail_before_the_first_answer_are_failed_rows_once_it_has_come(
    ray_here: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def respond(body: dict[str, Any]) -> Reply:
        number = int(body["messages"][0]["content"].split("passage ")[-1].split()[0]) if not is_probe(body) else 99
        return TOO_LONG if number < 20 else completion()

    with answering(respond) as (url, _):
        pairs = sorted(make_pairs(30), key=lambda pair: int(pair.doc_id[1:]))
        counts = trace(pairs, settings_for(Server(url), concurrency=1), tmp_path)
    assert counts["failures"] == {"context_too_long": 20} and counts["answered"] == 10
    assert sum(row.error is not None for row in read_rows(tmp_path, Trace)) == 20
    said = capfd.readouterr().err
    assert said.count("a request has failed for good: context_too_long") == 1 and "set teacher.context" in said


def test_two_rows_that_fail_say_nothing_about_the_server(ray_here: None, tmp_path: Path) -> None:
    with answering(lambda body: completion() if is_probe(body) else TOO_LONG) as (url, _):
        counts = trace(make_pairs(2), settings_for(Server(url)), tmp_path, quiet=True)
    assert counts["failures"] == {"context_too_long": 2}
