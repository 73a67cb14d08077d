"""Several students in one server, and students that are loaded anew while requests go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

from distill.cli import main
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.students import Served
from tests.rerank.serving import Scripted, get, post, serving, until
from tests.rerank.test_serve import in_background

ASKED = {"query": "red fox", "documents": ["the dog", "the sea"]}


def test_requests_go_to_the_student_that_they_name_and_to_the_first_by_default() -> None:
    first, other = Scripted(), Scripted()
    with serving(first, others=[Served(other, "second", "direct")]) as server:
        for model, name, engine in ((None, "my-student", first), ("second", "second", other)):
            before = len(engine.order)
            status, answer, _ = post(server.url + "/rerank", {**ASKED, "model": model})
            assert status == 200 and answer["model"] == name and len(engine.order) == before + 2
        status, answer, _ = post(server.url + "/rerank", {**ASKED, "model": "third"})
        assert status == 404 and "this is 'my-student' and 'second'" in answer["message"]
        assert post(server.url + "/rerank", {**ASKED, "model": "second", "mode": "direct"})[0] == 200
        models = json.loads(get(server.url + "/v1/models")[1])["data"]
        assert [(model["id"], model["mode"]) for model in models] == [("my-student", "think"), ("second", "direct")]
        assert json.loads(get(server.url + "/healthz")[1])["models"] == ["my-student", "second"]


def test_another_takes_over_and_what_was_asked_before_is_answered_by_the_one_that_was_asked() -> None:
    old, new, closed = Scripted(), Scripted(), []
    old.gate.clear()
    with serving(
        Scripted(),
        ServeSettings(client_share=1),
        others=[Served(old, "s", "think", close=lambda: closed.append("old"))],
    ) as server:
        asked = {**ASKED, "model": "s"}
        waiting = [in_background(server.url + "/rerank", asked) for _ in range(3)]
        until(lambda: old.running == 3)
        loop = server.students_loop
        loop.call_soon_threadsafe(server.students.replace, Served(new, "s", "think"))
        until(lambda: post(server.url + "/rerank", asked)[0] == 200 and new.order)
        assert not old.order and not closed, "the old one is still asked"
        old.gate.set()
        for thread, answers in waiting:
            thread.join()
            assert answers[0][0] == 200 and len(answers[0][1]["results"]) == 2
        until(lambda: closed)
        assert len(old.order) == 6 and post(server.url + "/rerank", asked)[0] == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "a={tiny}", "--model", "a={tiny}"], "'a' is"),
        (["--model", "a={tiny}", "--model", "b={tiny}", "--name", "c"], "--name names one student"),
    ],
)
def test_names_that_are_not_clear_are_refused(
    tiny: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *(option.format(tiny=tiny) for option in options)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_serves_two_and_loads_them_again_on_sighup(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distill.cli", "serve", "--model", f"one={tiny}", "--model", f"two={tiny}"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--mode", "direct"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        url, _, what = process.stdout.readline().strip().partition("  ")
        assert what == "one, two (direct)"
        before: Any = [post(url + "/rerank", {**ASKED, "model": name})[1]["results"] for name in ("one", "two")]
        os.kill(process.pid, signal.SIGHUP)
        assert sorted(process.stderr.readline().strip() for _ in range(2)) == ["one: loaded again", "two: loaded again"]
        after = [post(url + "/rerank", {**ASKED, "model": name})[1]["results"] for name in ("one", "two")]
        assert after == before
    finally:
        process.terminate()
        assert process.wait(60) == 0
