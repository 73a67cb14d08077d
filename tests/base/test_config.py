"""What is wrong in a configuration is said in one line: the key's path, the fault, the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from distill.config import Settings, apply_overrides, is_local, load, read_yaml, secret
from distill.errors import ConfigError


class Inner(Settings):
    temperature: float = 0.6
    samples: int = Field(1, ge=1)


class Outer(Settings):
    name: str
    teacher: Inner = Inner()
    sets: list[Inner] = []


def written(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: x\nteacher: {temprature: 1}",
            r"c.yaml: teacher.temprature is not a known key; did you mean 'temperature'\?",
        ),
        ("name: x\nsets: [{sample: 2}]", r"sets.0.sample is not a known key; did you mean 'samples'\?"),
        ("name: x\nzzz: 1", "zzz is not a known key; known here: name, sets, teacher"),
        ("teacher: {}", "name is missing"),
        ("name: x\nteacher: {temperature: hot}", r"teacher.temperature: .*number.* \(got 'hot'\)"),
        ("name: x\nteacher: {samples: 0}", r"teacher.samples: .*greater than or equal to 1 \(got 0\)"),
        ("name: x\nname: y", "line 2: the key 'name' is given twice"),
        ("name: [x", "c.yaml, line 1: not YAML"),
        ("- x", "a configuration is a mapping of keys, this is list"),
        ("", "this is empty"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Outer, written(tmp_path, text))


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Outer, written(tmp_path, "teacher: {samples: 0, temprature: 1}"))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_a_folder_and_bytes_that_are_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 9"):
        read_yaml(tmp_path / "latin.yaml")


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\nsets: [{samples: 2}]")
    config = load(Outer, path, ["teacher.temperature=1e-1", "sets.0.samples=5", "name=other"])
    assert (config.teacher.temperature, config.sets[0].samples, config.name) == (0.1, 5, "other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher", "an override is key.path=value"),
        ("sets.3.samples=1", "is a list of 1; name an item by number"),
        ("name.x=1", "name holds a single value"),
        ("teacher.temprature=1", "did you mean 'temperature'"),
    ],
)
def test_wrong_overrides(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Outer, written(tmp_path, "name: x\nsets: [{samples: 2}]"), [override])


def test_an_override_may_make_a_mapping_that_the_file_left_out() -> None:
    assert apply_overrides({"name": "x", "teacher": None}, ["teacher.samples=2"])["teacher"] == {"samples": 2}


def test_a_secret_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-planted")
    assert secret("MY_KEY", "teacher.endpoints.0.api_key_env") == "sk-planted"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match=r"teacher.endpoints.0.api_key_env names MY_KEY, which is not set"):
        secret("MY_KEY", "teacher.endpoints.0.api_key_env")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://api.example.com/v1", False),
        ("http://127.0.0.1.example.com/v1", False),
        ("http://10.0.0.7/v1", False),
    ],
)
def test_what_is_on_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local
