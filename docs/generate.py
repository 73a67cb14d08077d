"""Writes the three pages of the reference that the code itself holds: `python docs/generate.py`.

reference/configuration.md comes from the JSON schema that `distill schema` prints, reference/rows.md from the row types
of distill/records.py, cli.md from click's own help. Tests (tests/test_reference.py) fail where a page is not what this
writes.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
Schema = dict[str, Any]  # a JSON schema, or a part of one

INTRODUCTION = """---
search: {boost: 2}
---

# Configuration

Generated from the settings' own models by `python docs/generate.py`. `distill schema` prints the same as a JSON schema,
which `distill init` writes next to a configuration, so that an editor completes keys and marks wrong ones. An unknown
key is refused. Any key can be set on the command line: `distill run my.yaml sft.training.max_steps=100`.

A default of `null` means that the key is left out; what happens then is in the text. Keys that end in `_s` are in
seconds, in `_usd` in US dollars. Paths are relative to the configuration's file.
"""


ROWS = """# Rows

Generated from `distill/records.py` by `python docs/generate.py`. Every stage reads and writes rows of these types, as
Parquet that `datasets.load_dataset("parquet", ...)`, pandas and DuckDB read. Rows are sorted by `pair_id` and `sample`,
judgements by `query_id` and `doc_id`. Each folder's `manifest.json`, written last, names inputs, settings and versions.
From Python: `distill.Run("runs/my").kept.to_pandas()` ([Python](python.md)).

| folder of a run | rows |
|---|---|
| `pairs/` | [Pair](#pair) |
| `traces/`, `kept/` | [Trace](#trace) |
| `rejected/` | [Rejected](#rejected) |
| `changed/` | [Pair](#pair), whose label a filter or a person has changed |
| `dataset/STUDENT/` | [Example](#example) |
| `evaluation/SET/SYSTEM/` | [Judgement](#judgement) |
| `students/NAME/rollouts/` | [Rollout](#rollout), of a student trained [after SFT](../after-sft.md) |
"""


def pages() -> dict[Path, str]:
    """The text of each generated page."""
    reference = DOCS / "reference"
    return {
        reference / "configuration.md": configuration(),
        reference / "rows.md": rows_page(),
        DOCS / "cli.md": command_line(),
    }


def command_line() -> str:
    """The help of the program and of each command."""
    import click

    from distill.cli import commands

    context = click.Context(commands, info_name="distill", terminal_width=100, **commands.context_settings)
    parts = [commands.get_help(context)]
    parts += [
        command.get_help(click.Context(command, context, name, terminal_width=100))
        for name, command in commands.commands.items()
    ]
    blocks = "\n\n".join(f"```\n{part.strip()}\n```" for part in parts)
    return f"# The command line\n\nGenerated from the program's own help; a test compares them.\n\n{blocks}\n"


def configuration() -> str:
    """Every key of a configuration, a table for each mapping of keys."""
    parts = [INTRODUCTION]
    for path, schema in tables():
        rows = [_row(key, entry, schema) for key, entry in schema["properties"].items()]
        title = f"## `{path}`" if path else "## The whole"
        table = "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) if rows else "No keys."
        parts.append(f"{title}\n\n{_prose(schema.get('description', ''))}\n\n{table}\n")
    return "\n".join(parts)


def rows_page() -> str:
    """Columns, types and meanings of every row type."""
    from distill.records import Example, Judgement, Pair, Rejected, Rollout, Trace
    from distill.store import schema_of

    parts = [ROWS]
    for kind in (Pair, Trace, Rejected, Example, Judgement, Rollout):
        meanings = meanings_of(kind)
        own = [column for column in schema_of(kind) if column.name in meanings]
        lines = [f"| `{column.name}` | {column.type} | {meanings[column.name]} |" for column in own]
        also = " The columns of a [Trace](#trace), and these:" if kind is Rejected else ""
        table = "| column | type | meaning |\n|---|---|---|\n" + "\n".join(lines)
        parts.append(f"## {kind.__name__}\n\n{kind.__doc__}{also}\n\n{table}\n")
    return "\n".join(parts)


def meanings_of(kind: type) -> dict[str, str]:
    """{field: the text below it} of a row type."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    meanings = {}
    for field, text in itertools.pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            meanings[ast.unparse(field.target)] = ast.literal_eval(text.value)
    return meanings


def tables() -> Iterator[tuple[str, Schema]]:
    """(key path, schema with its `properties`) of each mapping that a configuration may hold, in the models' order."""
    from distill.cli.schema import text
    from distill.example.teacher import TeacherSettings
    from distill.example.world import WorldSettings
    from filters.settings import FILTERS

    whole = json.loads(text())
    yield from _tables("", whole, whole.get("$defs", {}))
    for name in FILTERS.names():
        own = FILTERS.load(name).model_json_schema()
        yield from _tables(f"filters.{name}", own, own.get("$defs", {}))
    for path, model in (("pairs.example", WorldSettings), ("teacher.example", TeacherSettings)):
        yield path, model.model_json_schema()


def _tables(path: str, schema: Schema, models: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, {**schema, "properties": schema.get("properties", {})}
    for key, entry in schema.get("properties", {}).items():
        for name, suffix in dict(_models(entry)).items():  # once, where one entry stands for a list of it
            if models[name].get("properties"):
                yield from _tables(f"{path}.{key}".lstrip(".") + suffix, models[name], models)
            else:  # a student: a target's name, or the settings
                for whole in models[name].get("anyOf", []):
                    if whole.get("properties"):
                        yield from _tables(f"{path}.{key}".lstrip(".") + suffix, whole, models)


def _models(entry: Schema) -> Iterator[tuple[str, str]]:
    """(model's name, suffix of the key path) of the mappings that a key may hold: .N in a list, .NAME by name."""
    if "$ref" in entry:
        yield entry["$ref"].rpartition("/")[2], ""
    for part in entry.get("anyOf", []):
        yield from _models(part)
    for key, suffix in (("items", ".N"), ("additionalProperties", ".NAME")):
        if isinstance(entry.get(key), dict):
            yield from ((name, suffix + more) for name, more in _models(entry[key]))


def _row(key: str, entry: Schema, schema: Schema) -> str:
    default = "required" if key in schema.get("required", []) else _default(entry)
    return f"| `{key}` | {_type(entry)} | {default} | {_prose(entry['description'], cell=True)} |"


def _default(entry: Schema) -> str:
    value = entry.get("default")
    if isinstance(value, dict) and value and "$ref" in entry:
        return "see its keys"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = [next(iter(item)) if len(item) == 1 else item.get("target", item) for item in value]
    if "default" not in entry:
        return "see its keys"
    return f"`{_yaml(value)}`"


def _yaml(value: object) -> str:
    """A value as YAML has it on one line."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or not value else value


def _type(entry: Schema) -> str:
    if "$ref" in entry:
        return "list" if entry["$ref"].endswith("FilterSettings") else "mapping"
    if "const" in entry:
        return f"`{_yaml(entry['const'])}`"
    if "enum" in entry:
        return ", ".join(f"`{_yaml(value)}`" for value in entry["enum"])
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(part) for part in entry["anyOf"] if part.get("type") != "null"))
    if entry.get("type") == "array":
        inner = _type(entry["items"]) if entry.get("items") else "values"
        return f"list of {inner}" if len(inner) < 60 else "list"
    if entry.get("type") == "object":
        inner = entry.get("additionalProperties")
        return f"mapping to {_type(inner)}" if isinstance(inner, dict) and inner else "mapping"
    kind = entry.get("type", "any")
    return {"boolean": "true, false", "string": "text"}.get(kind, kind) + _range(entry)


def _range(entry: Schema) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{word} {entry[name]:,g}" for name, word in words.items() if name in entry]
    return f" {' and '.join(bounds)}" if bounds else ""


def _prose(text: str, cell: bool = False) -> str:
    """A docstring as Markdown: its names of pages become links; in a table's cell nothing breaks a row."""
    text = text.replace("<", "&lt;") if cell else re.sub(r"(?<!`)<(\w+)>(?!`)", r"&lt;\1&gt;", text)
    text = re.sub(r"docs/([\w/-]+)\.md", r"[\1](../\1.md)", text)
    return " ".join(text.split()).replace("|", "\\|") if cell else text


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(DOCS.parent))
