"""`distill export` and `distill validate`: their options, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

FORMATS = ("dataset", "trl", "llama-factory", "messages", "rank1", "sentence-transformers", "beir")


def add_arguments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands; `main` runs what was parsed."""
    text = "the kept traces of a run in another tool's format, or a student as a model, with its card"
    sub = commands.add_parser("export", help=text, description=text)
    sub.add_argument("run", metavar="RUN", help="a run folder whose filter stage is done")
    sub.add_argument("--to", metavar="FORMAT", choices=FORMATS, default="dataset", help=", ".join(FORMATS))
    sub.add_argument(
        "--model", metavar="STUDENT", nargs="?", const="", help="a student instead: weights, tokenizer, model card"
    )
    sub.add_argument(
        "--out", metavar="DIR", help="where to (default: RUN/export/FORMAT); an earlier export is replaced"
    )
    sub.add_argument(
        "--push-to-hub", metavar="NAME", help="then upload it as the dataset or model NAME, with the token in HF_TOKEN"
    )
    sub.add_argument("--public", action="store_true", help="with --push-to-hub: visible to all; else private")
    sub.add_argument("--dry-run", action="store_true", help="with --push-to-hub: say what would be sent, send nothing")
    text = "check a dataset of traces, ours or anybody's: what would be trained on, what is broken, at which row"
    sub = commands.add_parser("validate", help=text, description=f"{text}. Exit status 2 when anything is broken.")
    sub.add_argument(
        "path", metavar="PATH", help="a Parquet, JSON or JSON-lines file, a folder of them, or a run folder"
    )
    sub.add_argument(
        "--columns", metavar="OURS=THEIRS,...", default="", help="such as reasoning=trace,answer=judgement"
    )
    sub.add_argument(
        "--max-length", type=int, metavar="N", help="prompt and completion, in words or the tokenizer's tokens"
    )
    sub.add_argument("--tokenizer", metavar="MODEL", help="a folder or hub name; --max-length then counts its tokens")
    sub.add_argument("--limit", type=int, default=20, metavar="N", help="places listed a fault, 0 for all (default 20)")
    sub.add_argument("--json", action="store_true", help="print JSON")


def main(parsed: argparse.Namespace) -> int:
    """Run `export` or `validate`; returns the exit status. Raises InputError for the user's faults."""
    return _export(parsed) if parsed.command == "export" else _validate(parsed)


def _export(parsed: argparse.Namespace) -> int:
    from distill.errors import InputError
    from distill.publish import hub
    from distill.publish.export import export

    name = parsed.push_to_hub
    if name:
        hub.check_name(name)
    elif parsed.public or parsed.dry_run:
        raise InputError("--public and --dry-run say how to push; name the dataset with --push-to-hub NAME")
    if parsed.model is not None:
        return _export_model(parsed)
    out = Path(parsed.out) if parsed.out else Path(parsed.run) / "export" / parsed.to
    made = export(Path(parsed.run), parsed.to, out, hub_name=name)
    print(f"{out}: {', '.join(f'{n:,} {split}' for split, n in made['rows'].items())} rows", flush=True)
    for why, n in made["left_out"].items():
        print(f"  left out: {n:,} {why}")
    if name and parsed.dry_run:
        print("\n".join(hub.plan(out, name, parsed.public)))
    elif name:
        print(hub.push(out, name, parsed.public))
    return 0


def _export_model(parsed: argparse.Namespace) -> int:
    from distill.errors import InputError
    from distill.publish import hub
    from distill.publish.model import export_model

    run = Path(parsed.run)
    if parsed.to != "dataset":
        raise InputError("--to is a format of traces; leave it out beside --model")
    out = Path(parsed.out) if parsed.out else run / "export" / f"model-{parsed.model or 'student'}"
    made = export_model(run, parsed.model, out)
    print(f"{out}: student {made['student']}, {made['files']} files, {made['bytes']:,} bytes", flush=True)
    name = parsed.push_to_hub
    if name and parsed.dry_run:
        print("\n".join(hub.plan(out, name, parsed.public, "model")))
    elif name:
        print(hub.push(out, name, parsed.public, "model"))
    return 0


def _validate(parsed: argparse.Namespace) -> int:
    from distill.errors import InputError
    from distill.publish.show import show
    from distill.publish.validate import validate

    columns: dict[str, str] = {}
    for part in filter(None, parsed.columns.split(",")):
        ours, equals, theirs = part.partition("=")
        if not equals or not ours.strip() or not theirs.strip():
            raise InputError(f"--columns {part}: write OURS=THEIRS, such as reasoning=trace")
        columns[ours.strip()] = theirs.strip()
    if parsed.limit < 0 or (parsed.max_length is not None and parsed.max_length < 1):
        raise InputError("--limit is 0 or more, and --max-length 1 or more")
    found = validate(Path(parsed.path), columns, parsed.max_length, parsed.tokenizer, parsed.limit)
    if parsed.json:
        json.dump(found.as_json(), sys.stdout, indent=2)
        print()
    else:
        print(show(found, parsed.limit if parsed.limit else len(found.faults) and found.rows))
    return found.exit_code
