"""Configurations of commit 221dad9 still load: each of its keys is one today, each value is taken as it was written.

keys.txt has the 251 keys that its settings and filters had; configs/ has those of its recipes that are others today.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill import config
from distill.pipeline.config import RunConfig

HERE = Path(__file__).parent


def test_every_key_is_still_one() -> None:
    spec = importlib.util.spec_from_file_location("generate", HERE.parents[1] / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    today = {f"{path}.{key}".lstrip(".") for path, schema in generate.tables() for key in schema["properties"]}
    assert sorted(set((HERE / "keys.txt").read_text().split()) - today) == []


@pytest.mark.parametrize("name", ["quickstart", "rank1-7b", "ray-cluster", "tiny"])
def test_a_recipe_is_taken_as_it_was_written(name: str) -> None:
    path = HERE / "configs" / f"{name}.yaml"
    raw = config.read_yaml(path)
    values = json.loads(config.load(RunConfig, path).model_dump_json(by_alias=True))
    for key, value in leaves({key: value for key, value in raw.items() if key not in ("filters", "sft")}):
        assert at(values, key) == value, key
    assert [next(iter(entry)) for entry in values["filters"]] == [
        entry if isinstance(entry, str) else next(iter(entry)) for entry in raw["filters"]
    ]
    targets = [target if isinstance(target, str) else target["target"] for target in raw["sft"].pop("targets")]
    assert [student["target"] for student in values["sft"]["targets"]] == targets
    for key, value in leaves(raw["sft"]):
        assert at(values["sft"], key) == value, key


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for key, item in inner:
        yield from leaves(item, (*path, key))


def at(value: object, path: tuple[str | int, ...]) -> object:
    for key in path:
        assert isinstance(value, dict | list)
        value = value[key]  # type: ignore[index, call-overload]
    return value
