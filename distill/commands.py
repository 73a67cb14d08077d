"""What the commands of `distill` share: several values after one option, and options passed on as one object.

Used by `distill/cli.py` and by each package's cli.py; it imports nothing heavy, so that `--help` answers fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from distill.urls import is_storage, is_url

Decorator = Callable[[Callable[..., int]], Callable[..., int]]
OUTPUT = "output"
EXAMPLES = {  # by command, as its help ends
    "init": "init clicks.csv --teacher deepseek --out my.yaml",
    "schema": "schema > .distill.schema.json",
    "doctor": "doctor my.yaml --probe 10",
    "run": "run my.yaml teacher.budget_usd=5 --dry-run",
    "pairs": "pairs my.yaml",
    "trace": "trace my.yaml --retry-failed",
    "filter": "filter my.yaml 'filters=[finished, parses]'",
    "dataset": "dataset my.yaml",
    "sft": "sft my.yaml 'sft.targets=[think]'",
    "evaluate": "evaluate --qrels test.tsv --run bm25.trec reranked.trec",
    "report": "report my.yaml",
    "runs": "runs runs/ shared/runs/",
    "compare": "compare runs/quickstart runs/mine",
    "export": "export runs/mine --to trl",
    "push": "push runs/mine/students/direct me/reranker --dry-run",
    "validate": "validate traces.jsonl --columns reasoning=trace,answer=judgement",
    "rerank": "rerank --model students/think --queries q.tsv --corpus c.jsonl --run bm25.trec --out out.trec",
    "calibrate": "calibrate --model students/think --queries q.tsv --corpus c.jsonl --run dev.trec --qrels dev.tsv",
    "sweep": "sweep --model students/think --queries q.tsv --corpus c.jsonl --run dev.trec --qrels dev.tsv",
    "index": "index data/corpus --model runs/mine/students/retriever --out index",
    "search": "search index 'opening hours of the museum' --instruction 'only on Mondays'",
    "serve": "serve --model runs/mine/students/think --mode direct",
    "view": "view runs/mine",
    "example-teacher": "example-teacher wrong=0.05 --port 8000",
}


class LocalPath(click.Path):
    """A path of this machine. A URL is refused, since it would be taken for a folder named `s3:`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if is_url(str(value)):
            self.fail(f"{value} is a URL, and this is on this machine alone; give a path.", param, ctx)
        return super().convert(value, param, ctx)


class InputPath(click.Path):
    """A path that is read: of this machine, or a URL, whose copy it becomes. DataError where nothing is there."""

    def __init__(self, path_type: type[Path] | type[str] = Path) -> None:
        super().__init__(path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, a text where it may be a hub name as well."""
        if is_url(str(value)):
            from distill.inputs import input_path

            value = str(input_path(Path(), str(value)))
        return super().convert(value, param, ctx)


class Place(LocalPath):
    """A folder of this machine, or a URL, which stays a text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder's path, or the URL."""
        if is_storage(str(value)):
            return str(value)
        return super().convert(value, param, ctx)


PLACE = Place()
FILE = LocalPath()  # written, or a folder that is worked in
INPUT = InputPath()
MODEL = InputPath(str)  # a student's folder or URL, or a hub name


class Several(click.Option):
    """An option that takes one or more values: `--run A B`, or `--run A --run B`."""

    def __init__(self, names: list[str], **settings: Any) -> None:
        super().__init__(names, multiple=True, **settings)

    def make_metavar(self, ctx: click.Context) -> str:
        """The metavar as help shows it, such as `FILE...`."""
        return super().make_metavar(ctx) + "..."


class Command(click.Command):
    """A command that knows `Several`, and that takes no option's name for the value of another."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the name of a `Several` before each of its values. Raises UsageError where a value is missing."""
        options = {name: p for p in self.get_params(ctx) if isinstance(p, click.Option) for name in p.opts}
        words: list[str] = []
        open_option: click.Option | None = None
        for place, word in enumerate(args):
            if word == "--":
                words += args[place:]
                break
            before = options.get(args[place - 1]) if place else None
            is_name = word.partition("=")[0] in options if word.startswith("--") else word in options
            if is_name and before and not before.is_flag and not isinstance(before.flag_value, str):
                raise click.UsageError(f"option {args[place - 1]} needs a value", ctx)
            if is_name:
                open_option = options.get(word)
            elif isinstance(open_option, Several) and before is not open_option:
                words.append(open_option.opts[0])
            words.append(word)
        return super().parse_args(ctx, words)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's example."""
        if self.name in EXAMPLES:
            formatter.write_paragraph()
            formatter.write(f"Example: distill {EXAMPLES[self.name]}\n")

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first paragraph of the help text, whole, for the list of commands."""
        return " ".join((self.help or "").partition("\n\n")[0].split())


class Group(click.Group):
    """The commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, as `--help` lists them."""
        return list(self.commands)


def collected(name: str, kind: type[Any], *options: Callable[[Callable[..., int]], Callable[..., int]]) -> Decorator:
    """Add `options` to a command and pass their values as one object: the argument `name`, a dataclass `kind`."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @wraps(function)
        def call(**values: Any) -> int:
            own = {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}
            return function(**values, **{name: kind(**own)})

        for option in reversed(options):
            call = option(call)
        return call

    return decorate


def only_one(**values: object) -> None:
    """Raise UsageError where more than one of these options is given."""
    given = [f"--{name}" for name, value in values.items() if value is not None and value is not False]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other; give one of them")


def writes_to(folder: Path) -> Path:
    """Note the folder that the command writes to, so that an error of the disk can name it; returns it."""
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.obj, dict):
        context.obj[OUTPUT] = folder
    return folder
