"""`distill schema`: the JSON schema of a configuration, by which editors complete and check it; init writes it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from distill.commands import Command

FILE = ".distill.schema.json"
LINE = f"# yaml-language-server: $schema={FILE}\n"


@click.command("schema", cls=Command)
def schema() -> int:
    """Print the JSON schema of a configuration, for editors; `init` writes it next to what it writes."""
    print(text(), end="")
    return 0


def text() -> str:
    """The schema of `RunConfig`, as JSON."""
    from distill.pipeline.config import RunConfig

    return json.dumps(RunConfig.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def write_configuration(path: Path, yaml: str) -> None:
    """Write a configuration whose first line names its schema, and the schema next to it."""
    path.write_text(LINE + yaml, encoding="utf-8")
    (path.parent / FILE).write_text(text(), encoding="utf-8")
