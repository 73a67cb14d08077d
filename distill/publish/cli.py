"""The commands `distill export` and `distill validate`: their options, and what they print. `distill.cli` adds them."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

import click

from distill.commands import FILE, INPUT, MODEL, Command, writes_to
from distill.publish.formats import FORMATS
from distill.tables import counted


@click.command("export", cls=Command)
@click.argument("run", type=FILE, metavar="RUN", help="a run folder whose filter stage is done")
@click.option("--to", metavar="FORMAT", type=click.Choice(list(FORMATS)), default="dataset", help=", ".join(FORMATS))
@click.option(
    "--model",
    metavar="[STUDENT]",
    is_flag=False,
    flag_value="",
    help="a student instead: weights, tokenizer, model card",
)
@click.option(
    "--out", type=FILE, metavar="DIR", help="where to (default: RUN/export/FORMAT); an earlier export is replaced"
)
@click.option(
    "--push-to-hub", metavar="NAME", help="then upload it as the dataset or model NAME, with the token in HF_TOKEN"
)
@click.option("--public", is_flag=True, help="with --push-to-hub: visible to all; else private")
@click.option("--dry-run", is_flag=True, help="with --push-to-hub: say what would be sent, send nothing")
def export(
    run: Path, to: str, model: str | None, out: Path | None, push_to_hub: str | None, public: bool, dry_run: bool
) -> int:
    """The kept traces of a run in another tool's format, or a student as a model, with its card."""
    from distill.errors import InputError
    from distill.publish import hub
    from distill.publish.export import export as write
    from distill.publish.model import export_model

    if push_to_hub:
        hub.check_name(push_to_hub)
    elif public or dry_run:
        raise InputError("--public and --dry-run say how to push; name the dataset with --push-to-hub NAME")
    if model is not None:
        if to != "dataset":
            raise InputError("--to is a format of traces; leave it out with --model")
        out = writes_to(out or run / "export" / f"model-{model or 'student'}")
        made = export_model(run, model, out)
        print(
            f"{out}: student {made['student']}, {counted(made['files'], 'file')}, {counted(made['bytes'], 'byte')}",
            flush=True,
        )
    else:
        out = writes_to(out or run / "export" / to)
        made = write(run, to, out, hub_name=push_to_hub)
        print(f"{out}: {', '.join(f'{n:,} {split}' for split, n in made['rows'].items())} rows", flush=True)
        for why, n in made["left_out"].items():
            print(f"  left out: {n:,} {why}")
    kind = "dataset" if model is None else "model"
    if push_to_hub and dry_run:
        print("\n".join(hub.plan(out, push_to_hub, public, kind)))
    elif push_to_hub:
        print(hub.push(out, push_to_hub, public, kind))
    return 0


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
