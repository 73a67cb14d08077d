"""Every key and every argument that may hold a path: a URL is read, or refused in one line that names it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from pydantic import BaseModel

from distill.cli import commands, main
from distill.commands import InputPath, LocalPath, Place
from distill.pipeline.config import MAY_BE_URLS, RunConfig
from filters.label_dispute import LabelDispute

# Keys of texts that are no path: each is here by a decision, so that a new key is looked at.
NO_PATHS = (
    "name", "prompt", "*.prompt", "*.source", "pairs.columns.*", "*.split", "*.split.*", "pairs.qrels", "pairs.ask.*",
    "*.language", "*.languages.*", "pairs.clean.decontaminate.*", "*.name", "*.kind", "*.subset", "*.columns.*",
    "teacher.options.*", "teacher.example.*", "teacher.endpoints.*", "teacher.engine.args.*", "teacher.engine.env.*",
    "teacher.batch.completion_window", "dataset.*", "filters.*", "evaluation.measures.*", "evaluation.modes.*",
    "evaluation.systems.*", "evaluation.calibrate_on", "evaluation.calibration_instructions.*", "scoring.base_url",
    "scoring.api_key_env", "scoring.engine.*", "pairs.example.*", "ablate.*", "sft.training.*", "sft.lora.*",
    "sft.targets.*.time_of", "sft.targets.*.loss", "sft.targets.*.training.*", "sft.targets.*.scores.from",
    "sft.targets.*.then.*.reward.*",
    "sft.revision", "sft.assume.device",
    "pairs.instructions.lengths.*",
    "pairs.instructions.styles.*", "pairs.synthesize.kinds.*", "teacher.actor.resources.*",
    "teacher.redact.regions.*", "teacher.redact.patterns.*", "refresh.served", "teacher.reasoning",
    "teacher.extra_body.*", "sft.targets.*.retriever.*", "teacher.prices.*",
)  # fmt: skip
PATHS = {  # what else may hold a path, a name of the hub, or a file of one's own
    "pairs.negatives.model", "pairs.negatives.mix.*.model", "teacher.engine.model", "teacher.tokenizer",
    "teacher.batch.folder", "sft.base", "sft.targets.*.target", "sft.targets.*.base", "sft.targets.*.then.*.teacher",
    "scoring.backend",
    "refresh.since", "evaluation.sets.*.first_stage.retriever", "evaluation.sets.*.first_stage.hybrid",
}  # fmt: skip
# Options and arguments of commands that hold no path.
WORDS = {
    "overrides", "explain", "model", "push_to_hub", "columns", "measure", "baseline", "name", "host", "device",
    "backend", "base_url", "api_key_env", "client_key_env", "engine", "prompt", "instruction", "mode",
    "host_names", "recipe", "teacher", "teacher_model", "base", "split", "query",
}  # fmt: skip
GOOD = {"name": "x", "pairs": {"source": "beir", "path": "data"}, "teacher": {"source": "none"}}


def text_keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The key path of every text of a settings model; * for any name or number."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield from _in(field.annotation, f"{path}.{key}" if path else key)


def _in(annotation: Any, path: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from text_keys(annotation, path)
    elif annotation is str or annotation is Any or not get_args(annotation):
        if annotation in (str, Any):
            yield path
    else:
        many = getattr(annotation, "__origin__", None) in (list, dict)
        for part in get_args(annotation):
            yield from _in(part, f"{path}.*" if many else path)


def test_every_text_of_the_configuration_is_known_as_a_path_or_as_none() -> None:
    keys = set(text_keys(RunConfig)) - {"filters.root.*.*.*"}
    unknown = [
        key
        for key in keys
        if key not in {*MAY_BE_URLS, *PATHS} and not any(fnmatchcase(key, form) for form in NO_PATHS)
    ]
    assert unknown == []
    assert keys >= PATHS | set(MAY_BE_URLS) - {"filters.*.label_dispute.decisions"}
    assert "decisions" in LabelDispute.model_fields


def _value(path: str, value: str) -> dict[str, Any]:
    """The configuration with that key."""
    config: dict[str, Any] = json.loads(json.dumps(GOOD))
    node: Any = config
    keys = path.split(".")
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        empty: Any = value if following is None else [] if following == "*" and key != "files" else {}
        if key == "*" and isinstance(node, list):
            node.append({} if following else value)
            node = node[-1]
        else:
            key = "corpus" if key == "*" else key
            if following is None or not isinstance(node.get(key), dict | list):
                node[key] = empty
            node = node[key]
    return config


@pytest.mark.parametrize("key", sorted(PATHS))
def test_a_url_where_it_is_not_read_is_refused_by_name(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(_value(key, "s3://bucket/folder")))
    assert main(["run", str(path), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    shown = key.replace(".*.", ".0.")
    assert re.fullmatch(rf"distill: .*{re.escape(shown)}: s3://bucket/folder is a URL, .*; give a path or a name", line)


@pytest.mark.parametrize("scheme", ["s3", "S3", "gs", "az", "hdfs", "memory"])
def test_schemes_are_alike(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    assert main(["run", str(path), f"sft.base={scheme}://bucket/folder", "--dry-run"]) == 2
    assert f"sft.base: {scheme}://bucket/folder is a URL" in capsys.readouterr().err


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    """(command, parameter) of all commands."""
    for name, command in commands.commands.items():
        for parameter in command.params:
            yield name, parameter


def test_every_argument_of_a_command_is_a_path_or_known_as_none() -> None:
    unknown = {
        f"{name} {parameter.name}"
        for name, parameter in parameters()
        if parameter.type.name == "text" and parameter.name not in WORDS
    }
    assert unknown == set()
    assert all(isinstance(p.type, LocalPath | InputPath) for _, p in parameters() if isinstance(p.type, click.Path))


LOCAL = [(name, p) for name, p in parameters() if isinstance(p.type, LocalPath) and not isinstance(p.type, Place)]
READ = [(name, p) for name, p in parameters() if isinstance(p.type, InputPath)]


def _words(name: str, parameter: click.Parameter, value: str) -> list[str]:
    """A command that gives the value to the parameter."""
    if not isinstance(parameter, click.Argument):
        return [name, parameter.opts[0], value]
    arguments = [other for other in commands.commands[name].params if isinstance(other, click.Argument)]
    return [name, *(["x"] * arguments.index(parameter)), value]


@pytest.mark.parametrize(("name", "parameter"), LOCAL, ids=[f"{name} {p.opts[0]}" for name, p in LOCAL])
def test_an_argument_that_is_of_this_machine_refuses_a_url(
    name: str, parameter: click.Parameter, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(_words(name, parameter, "s3://bucket/x")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "s3://bucket/x is a URL" in line and (parameter.opts[0].strip("-") in line or parameter.metavar in line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "parameter"), READ, ids=[f"{name} {p.opts[0]}" for name, p in READ])
def test_an_argument_that_is_read_says_what_is_not_there(
    name: str, parameter: click.Parameter, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(_words(name, parameter, f"{bucket}/x")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"distill: {bucket}/x: no such file or folder"
    assert list(tmp_path.iterdir()) == []


def test_a_base_on_a_url_is_refused_when_a_configuration_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text("query,passage,label\nq one,p one,1\nq one,p two,0\nq two,p three,1\n")
    words = ["init", str(tmp_path / "pairs.csv"), "--base", "s3://bucket/x", "--yes", "--out", str(tmp_path / "x.yaml")]
    assert main(words) == 2
    assert "sft.base: s3://bucket/x is a URL" in capsys.readouterr().err and not (tmp_path / "x.yaml").exists()
