"""Sources of answers: built-in ones are found by their files, one's own by `file.py:Class`, through the command."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.cli import main
from distill.config import validate
from distill.errors import ConfigError
from distill.records import Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.sources import SOURCES
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, own_run

OWN = '''
from teacher.sources.base import Reply, WorkerSource


class Mine(WorkerSource):
    """Finds odd numbers relevant."""

    async def ask(self, messages, sampling):
        number = int(messages[0]["content"].rpartition("text number ")[2].split()[0])
        word = self.settings.options["words"][number % 2]
        return Reply(f"The number is {number}.", word, prompt_tokens=10, completion_tokens=5, cost_usd=0.5)
'''


def test_the_built_in_sources_are_the_files_of_the_folder() -> None:
    assert SOURCES.names() == ("batch", "endpoints", "example", "import", "labels", "none", "vllm")
    assert all(SOURCES.load(name) for name in SOURCES.names())


@pytest.mark.usefixtures("ray_here")
def test_a_source_of_ones_own_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, out = own_run(tmp_path, Server("http://127.0.0.1:9/v1")), tmp_path / "run"
    values = json.loads(config.read_text())
    values["teacher"] = {"source": "mine.py:Mine", "options": {"words": ["false", "true"]}, "concurrency": 4}
    config.write_text(json.dumps(values))
    given = [str(config), "--out", str(out)]
    assert main(["pairs", *given]) == 2  # the file is named before anything is done
    assert "mine.py" in capsys.readouterr().err
    (tmp_path / "mine.py").write_text(OWN)
    assert main(["pairs", *given]) == main(["trace", *given]) == 0
    rows = list(read_rows(out / "traces", Trace))
    assert {(row.reasoning[-2], row.verdict) for row in rows} == {(str(n), n % 2) for n in range(9)}
    assert all(json.loads(row.teacher)["name"] == "Mine" and row.cost_usd == 0.5 for row in rows)
    capsys.readouterr()
    assert main(["trace", *given]) == 0 and "trace: unchanged" in capsys.readouterr().err
    assert main(["trace", *given, "teacher.budget_usd=1", "teacher.samples=2"]) == 3  # its costs count


@pytest.mark.usefixtures("ray_here")
def test_a_module_next_to_a_source_of_ones_own_is_imported_in_the_actors_too(tmp_path: Path) -> None:
    own = OWN.replace("class Mine", "import whys\n\n\nclass Mine").replace('f"The number is {number}."', "whys.WHY")
    (tmp_path / "mine.py").write_text(own.replace("text number", "passage"))
    (tmp_path / "whys.py").write_text("WHY = 'because'\n")
    values = {"source": "mine.py:Mine", "options": {"words": ["false", "true"]}, "concurrency": 2}
    settings = validate(TeacherSettings, values, tmp_path / "my.yaml")
    assert trace(make_pairs(3), settings, tmp_path / "traces", quiet=True)["answered"] == 3
    assert {row.reasoning for row in read_rows(tmp_path / "traces", Trace)} == {"because"}
    before = settings.identity()
    (tmp_path / "whys.py").write_text("WHY = 'since'\n")
    assert settings.identity() != before


@pytest.mark.usefixtures("ray_here")
def test_what_a_source_of_ones_own_raises_fails_the_row_and_names_the_line(tmp_path: Path) -> None:
    text = OWN.replace("word = self.settings", "assert number != 3\n        word = self.settings")
    (tmp_path / "mine.py").write_text(text.replace("text number", "passage"))
    values = {"source": "mine.py:Mine", "options": {"words": ["false", "true"]}, "attempts": 2, "samples": 1}
    settings = validate(TeacherSettings, values, tmp_path / "my.yaml")
    counts = trace(make_pairs(9), settings, tmp_path / "traces", quiet=True)
    assert (counts["answered"], counts["failures"]) == (8, {"unexpected": 1})
    failed = next(row for row in read_rows(tmp_path / "traces", Trace) if row.error)
    assert failed.error is not None and "AssertionError" in failed.error and "(mine.py, line 10)" in failed.error


@pytest.mark.usefixtures("ray_here")
def test_a_wrong_source_of_ones_own_stops_with_its_line_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def traced(text: str) -> dict[str, Any]:
        (tmp_path / "mine.py").write_text(text.replace("text number", "passage"))
        values = {"source": "mine.py:Mine", "options": {"words": ["false", "true"]}, "concurrency": 2}
        settings = validate(TeacherSettings, values, tmp_path / "my.yaml")
        return trace(make_pairs(9), settings, tmp_path / "traces", quiet=True)

    for old, new, told in (
        ("return Reply(", "return Replyy(", r"mine.py:Mine: .*mine.py, line 11 raised NameError: name 'Replyy'"),
        ("return Reply(", "return {}[3]  # (", r"mine.py:Mine: .*mine.py, line 11 raised KeyError: 3"),
        ("    async def", "    def", r"mine.py:Mine: `ask` is not async; write `async def ask\("),
        (
            "messages, sampling",
            "messages",
            r"mine.py:Mine: `ask` takes \(self, messages\); write `async def ask\(.*line 8",
        ),
        ("return Reply(", "return None  # (", r"mine.py:Mine: `ask` returned None; return Reply\("),
        ("return Reply(", "return word  # (", r"mine.py:Mine: `ask` returned a str; return Reply\("),
        ("word, prompt", "True, prompt", r"mine.py:Mine: the Reply's content is a bool; return Reply\("),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            traced(OWN.replace(old, new))
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="line 10 raised NameError"):
        traced(OWN.replace("word = ", "number == 6 and wrong\n        word = "))
    journal = (tmp_path / "traces" / "journal").glob("*.jsonl")
    kept = sum(path.read_text().count('"reasoning"') for path in journal)
    assert 1 <= kept <= 8
    counts = traced(OWN)
    assert (counts["answered"], counts["asked_now"]) == (9, 9 - kept)


@pytest.mark.parametrize(
    ("source", "text", "told"),
    [
        ("endpoint", "", "did you mean 'endpoints'"),
        ("mine.py:Mine", "class Other: pass", "no class 'Mine'"),
        ("mine.py:Mine", "class Mine: pass", "let it inherit from teacher.sources.base"),
        (
            "mine.py:Mine",
            "from teacher.sources.base import WorkerSource\nclass Mine(WorkerSource): pass",
            "lacks `ask`",
        ),
    ],
)
def test_what_is_no_source_is_one_line(tmp_path: Path, source: str, text: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError) as refused:
        validate(TeacherSettings, {"source": source}, tmp_path / "my.yaml")
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_changed_file_makes_the_stage_anew(tmp_path: Path) -> None:
    def identity(text: str, **more: Any) -> object:
        (tmp_path / "mine.py").write_text(text)
        return validate(TeacherSettings, {"source": "mine.py:Mine", **more}, tmp_path / "my.yaml").identity()

    assert identity(OWN) == identity(OWN)
    assert identity(OWN) != identity(OWN + "# changed") and identity(OWN) != identity(OWN, options={"words": []})


@pytest.mark.parametrize(
    ("template", "written", "finish", "expected"),
    [
        ("", "<think>because</think> true<|im_end|>", "stop", ("because", "true", "stop", None)),
        ("<think>\n", "because</think> true", "stop", ("because", "true", "stop", None)),
        ("<think>\n", "because it", "length", ("because it", "", "length", None)),  # the template has opened it
        ("", "true", "Fertig", ("", "true", "stop", "Fertig")),
    ],
)
def test_an_engines_answers_are_read_as_any_others(
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    written: str,
    finish: str,
    expected: tuple[str, str, str, str | None],
) -> None:
    """With a stand-in for vLLM; test_vllm.py runs the real one where it is installed."""
    made: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=lambda **values: made.update(values)))

    async def generate(prompt: dict[str, list[int]], params: object, request_id: str) -> AsyncIterator[Any]:
        for text in (written[:3], written):  # the output grows
            likely = {token: SimpleNamespace(decoded_token=of, logprob=-token) for token, of in ((1, "tr"), (2, "ue"))}
            output = SimpleNamespace(text=text, finish_reason=finish, token_ids=[1, 2], logprobs=[likely, likely])
            yield SimpleNamespace(outputs=[output], prompt=prompt)

    settings = TeacherSettings.model_validate({"source": "vllm", "engine": {"model": "m"}, "logprobs": True})
    source = settings.made_source()
    source.__dict__["_engine"] = SimpleNamespace(generate=generate)
    source.__dict__["_tokens"] = SimpleNamespace(
        chat_template="yes",
        apply_chat_template=lambda messages, **_: f"{messages[0]['content']}\n{template}",
        encode=lambda text, **_: [0] * len(text),
    )
    sampling = {"max_tokens": 9, "logprobs": True, "top_logprobs": 5}
    reply = asyncio.run(source.ask([{"role": "user", "content": "q"}], sampling))  # type: ignore[attr-defined]
    assert (reply.reasoning, reply.content, reply.finish_reason, reply.unknown_finish) == expected
    assert (reply.prompt_tokens, reply.completion_tokens) == (2 + len(template), 2)
    assert made == {"max_tokens": 9, "logprobs": 5, "skip_special_tokens": False}
    assert reply.words == ([(0, "tr", -1.0, {"tr": -1.0, "ue": -2.0})] if reply.content else None)
