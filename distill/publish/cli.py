"""The command `distill validate`: its options, and what it prints. `distill.cli` adds it."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

import click

from distill.commands import INPUT, MODEL, Command


@click.command("validate", cls=Command)
@click.argument(
    "path", type=INPUT, metavar="PATH", help="a Parquet, JSON or JSON-lines file, a folder of them, or a run folder"
)
@click.option("--columns", metavar="OURS=THEIRS,...", default="", help="such as reasoning=trace,answer=judgement")
@click.option("--max-length", type=int, metavar="N", help="prompt and completion, in words or the tokenizer's tokens")
@click.option(
    "--tokenizer", type=MODEL, metavar="MODEL", help="a folder or hub name; --max-length then counts its tokens"
)
@click.option("--limit", type=int, default=20, metavar="N", help="places listed for each fault, 0 for all (default 20)")
@click.option("--json", is_flag=True, help="print JSON")
def validate(path: Path, columns: str, max_length: int | None, tokenizer: str | None, limit: int, json: bool) -> int:
    """Check a dataset of traces, ours or anybody's: what would be trained on, what is broken, at which row.

    Exit status 2 when anything is broken.
    """
    from distill.errors import InputError
    from distill.publish.show import show
    from distill.publish.validate import validate as check

    renamed: dict[str, str] = {}
    for part in filter(None, columns.split(",")):
        ours, equals, theirs = part.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise InputError(f"--columns {part}: write OURS=THEIRS, such as reasoning=trace")
        renamed[ours.strip()] = theirs.strip()
    if limit < 0 or (max_length is not None and max_length < 1):
        raise InputError("--limit is 0 or more, and --max-length 1 or more")
    findings = check(path, renamed, max_length, tokenizer, limit)
    if json:
        jsonlib.dump(findings.as_json(), sys.stdout, indent=2)
        print()
    else:
        print(show(findings, limit if limit else len(findings.faults) and findings.rows))
    return findings.exit_code
