"""The reference is the code's own: every key is described, and generated pages are current."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_key_is_described(generate: ModuleType) -> None:
    """A key that may be left out as null says after `default:` what happens then."""
    keys = {f"{path}.{key}": entry for path, schema in generate.tables() for key, entry in schema["properties"].items()}
    assert len(keys) > 280
    bare = [key for key, entry in keys.items() if not entry.get("description")]
    silent = [
        key
        for key, entry in keys.items()
        if entry.get("default", "") is None and "default: " not in entry.get("description", "")
    ]
    assert bare == [], "give each a Field(..., description=...) with its unit"
    assert silent == [], "say after `default: ` what happens without the key"


def test_every_mapping_of_keys_has_a_table(generate: ModuleType) -> None:
    """No model is left out of the page: each of the schema's, and each filter's."""
    import json

    from distill.cli.schema import text
    from filters.settings import FILTERS

    models = {name for name, model in json.loads(text())["$defs"].items() if model.get("type") == "object"}
    titles = {schema.get("title") for _, schema in generate.tables()}
    assert models <= titles
    paths = {path for path, _ in generate.tables()}
    assert {f"filters.{name}" for name in FILTERS.names()} | {"sft.targets.N", "pairs.example"} <= paths


def test_every_column_has_its_meaning(generate: ModuleType) -> None:
    from dataclasses import fields

    from distill.records import Example, Judgement, Pair, Rejected, Trace

    for kind in (Pair, Trace, Rejected, Example, Judgement):
        assert list(generate.meanings_of(kind)) == [field.name for field in fields(kind)], kind


@pytest.mark.parametrize("page", ["reference/configuration.md", "reference/rows.md", "cli.md"])
def test_generated_pages_are_current(generate: ModuleType, page: str) -> None:
    """Where lines break is click's business and may change with its version; the words are ours."""
    path = ROOT / "docs" / page
    written = path.read_text(encoding="utf-8").split()
    assert written == generate.pages()[path].split(), "run: python docs/generate.py"
