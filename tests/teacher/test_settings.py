"""What a user may say about the teacher, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.config import validate
from distill.errors import ConfigError
from teacher.settings import TeacherSettings

ENDPOINT = {"base_url": "http://127.0.0.1:8000/v1/", "model": "r1"}


def load(**values: Any) -> TeacherSettings:
    """Settings as a configuration file gives them."""
    return validate(TeacherSettings, {"endpoints": [ENDPOINT], **values}, "my.yaml")


@pytest.mark.parametrize(
    "values, told",
    [
        ({"endpoints": []}, "source endpoints needs the key endpoints"),
        ({"source": "vllm"}, "source vllm needs the key engine"),
        ({"source": "import"}, "source import needs the key import"),
        ({"temprature": 1}, "temprature is not a known key; did you mean 'temperature'?"),
        (
            {"endpoints": [{**ENDPOINT, "in_flite": 3}]},
            "endpoints.0.in_flite is not a known key; did you mean 'in_flight'",
        ),
        ({"endpoints": [{**ENDPOINT, "api_key": "sk-1"}]}, "endpoints.0.api_key: name an environment variable"),
        ({"endpoints": [{**ENDPOINT, "base_url": "localhost:8000"}]}, "endpoints.0.base_url: a URL such as"),
        ({"endpoints": [{**ENDPOINT, "base_url": "http://me:pw@h/v1"}]}, "keys do not belong in the URL"),
        ({"endpoints": [ENDPOINT, {**ENDPOINT, "model": "r1-alias"}]}, "set teacher.name"),
        ({"budget_usd": 3}, "budget_usd needs endpoints.0.price"),
        ({"context": 4096}, "leaves no prompt with max_tokens"),
        ({"samples": 0}, "samples"),
        ({"attempts": 0}, "attempts"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_key(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(**values)
    assert told in str(refused.value) and "sk-1" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 3}, {"workers": 4}, {"budget_tokens": 5}, {"attempts": 1}, {"deadline_s": 1}, {"journal": "j"},
        {"endpoints": [{**ENDPOINT, "base_url": "http://other/v1", "price": {"input": 1, "output": 1}}]},
    ],
)  # fmt: skip
def test_where_and_how_fast_do_not_decide_which_answers_there_are(change: dict[str, Any]) -> None:
    assert load(**change).identity() == load().identity()


@pytest.mark.parametrize("change", [{"temperature": 0.1}, {"max_tokens": 5}, {"seed": 1}, {"samples": 2}, {"top_p": 0.9}, {"name": "x"}])  # fmt: skip # noqa: E501
def test_sampling_and_the_teachers_name_do(change: dict[str, Any]) -> None:
    assert load(**change).identity() != load().identity()


def test_the_name_is_the_models_unless_given_and_the_examples_follows_its_settings() -> None:
    assert load().teacher_name == "r1" and load(name="deepseek-r1").teacher_name == "deepseek-r1"
    one, two = (load(source="example", endpoints=[], example={"wrong": w}).teacher_name for w in (0.1, 0.2))
    assert one != two


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    given = load(source="import", **{"import": {"path": "traces.jsonl"}})
    assert TeacherSettings.model_validate(given.model_dump(mode="json", exclude_none=True)) == given
    assert given.import_ is not None and Path(given.import_.path) == Path("my.yaml").resolve().parent / "traces.jsonl"


def test_an_imported_file_that_changed_is_another_input(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("{}")
    settings = load(source="import", **{"import": {"path": str(file)}})
    before = settings.identity()
    file.write_text("{}\n{}")
    assert settings.identity() != before
