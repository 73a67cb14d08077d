"""The command line. Exit status: 0 done, 2 wrong input (one line), 3 stopped with work left, 1 anything else.

`distill run` of a refresh: 0 promote the new student, 10 keep the served one, 11 unsure.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from distill import __version__
from distill.cli.doctor import doctor
from distill.cli.export import export, push
from distill.cli.init import init
from distill.cli.retrieval import index, search
from distill.cli.runs import compare, runs
from distill.cli.schema import schema
from distill.commands import FILE, OUTPUT, PLACE, Command, Decorator, Group, collected, writes_to
from distill.errors import ConfigError, DistillError
from distill.evaluation.cli import (
    FileOptions,
    UnjudgedOptions,
    evaluate_without_config,
    file_options,
    unjudged_options,
)
from distill.publish.cli import validate
from distill.rerank.cli import calibrate, rerank
from distill.rerank.instructions.cli import sweep
from distill.rerank.serve.cli import serve
from distill.stages import STAGES

if TYPE_CHECKING:
    from distill.pipeline.run import Run

COMPLETE = "_DISTILL_COMPLETE"  # where a shell's completion says what it wants, as click names it
HELP = {
    "run": "The whole pipeline; stages whose inputs and settings are unchanged are skipped.",
    **{stage.name: stage.help for stage in STAGES},
    "report": "Write report.html from what is in the run folder; of run folders (runs/*) also an index of them.",
}


@dataclass(frozen=True, slots=True)
class StageOptions:
    """What every stage's command takes; `config` may be None for `evaluate` alone."""

    config: Path | None
    overrides: tuple[str, ...]
    out: Path | str | None
    dry_run: bool
    as_json: bool = False

    def run(self) -> Run:
        """The run that they describe. Raises ConfigError for what cannot be right."""
        from distill.pipeline.execute import configured

        assert self.config is not None  # click requires it, and `evaluate` refuses to go on without it
        return configured(self.config, self.overrides, self.out)


def stage_options(required: bool = True) -> Decorator:
    """CONFIG, overrides, --out, --dry-run and its --json, passed on as `options`; evaluate has a --json of its own."""
    as_json = click.option("--json", "as_json", is_flag=True, help="with --dry-run: all figures, and the configuration")
    return collected(
        "options",
        StageOptions,
        click.argument(
            "config",
            type=FILE,
            required=required,
            metavar="CONFIG" if required else "[CONFIG]",
            help="a YAML file; its paths are relative to it",
        ),
        click.argument("overrides", nargs=-1, metavar="[key.path=value]...", help="settings on top"),
        click.option(
            "--out", type=PLACE, metavar="DIR", help="the run folder, or a URL (default: runs/NAME, or CONFIG's run)"
        ),
        click.option("--dry-run", is_flag=True, help="check the configuration and say what would be done"),
        *([as_json] if required else []),
    )


def _run_stages(name: str, options: StageOptions, retry_failed: bool = False, explain: str | None = None) -> int:
    """Bring a stage, or with `name` run all of them, up to date; with --dry-run only say what would be done."""
    if name == "run" and not options.dry_run and not options.as_json and options.config and options.config.exists():
        # Before what takes seconds to import.
        print("reading the configuration and checking the data ...", file=sys.stderr, flush=True)
    from distill.pipeline.execute import checked_stages, execute

    run = options.run()
    stages = checked_stages(run, name, options.overrides)
    if options.dry_run:
        from distill.cli import dry_run

        return dry_run.show(name, run, options.as_json)
    if options.as_json:
        raise ConfigError("--json is for --dry-run; metrics.json in the run folder has a run's figures")
    if explain:
        return _explain(run, explain)
    execute(run, stages, name, options.overrides, retry_failed)
    if name != "run":
        return 0
    from distill.cli.finish import finish

    return finish(run)


def _explain(run: Run, pair_id: str) -> int:
    from distill.pipeline.filter import explain

    for sample, name, word in explain(run, pair_id):
        print(f"sample {sample}  {name}: {word}")
    return 0


@click.group(
    "distill",
    cls=Group,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="distill %(version)s")
def commands() -> None:
    """Distil reasoning rerankers: pairs, teacher, filters, SFT, evaluation, report."""


def stage(name: str) -> Callable[[Callable[..., int]], click.Command]:
    """Make a function the command of a stage."""
    return commands.command(name, cls=Command, help=HELP.get(name))


def plain_stages(*names: str) -> None:
    """Add the commands of stages that have no options of their own."""
    for name in names:
        stage(name)(stage_options()(partial(_run_stages, name)))


@stage("run")
@stage_options()
@click.option("--since", type=PLACE, metavar="RUN", help="refresh this run or URL: reuse answers, compare students")
def run_all(options: StageOptions, since: Path | str | None) -> int:
    if since is not None:
        from distill.pipeline.execute import refreshing

        options = replace(options, overrides=(*options.overrides, refreshing(since)))
    return _run_stages("run", options)


plain_stages("pairs")


@stage("trace")
@stage_options()
@click.option("--retry-failed", is_flag=True, help="ask again what failed for good")
def trace(options: StageOptions, retry_failed: bool) -> int:
    return _run_stages("trace", options, retry_failed=retry_failed)


@stage("filter")
@stage_options()
@click.option("--explain", metavar="PAIR_ID", help="only say what each filter says of this pair")
def filter_traces(options: StageOptions, explain: str | None) -> int:
    return _run_stages("filter", options, explain=explain)


plain_stages("dataset", "sft")


@stage("evaluate")
@stage_options(required=False)
@file_options
@unjudged_options
def evaluate(options: StageOptions, files: FileOptions, unjudged: UnjudgedOptions) -> int:
    files.check()
    unjudged.check()
    if files.without_config and not unjudged.judge_unjudged:
        if options.config is not None:
            raise ConfigError(
                f"{options.config}: a configuration has its own sets; leave it out, or --qrels, --run and --seeds"
            )
        return evaluate_without_config(files)
    if options.config is None and unjudged.judge_unjudged:
        raise ConfigError("--judge-unjudged needs a CONFIG: its teacher grades what nobody judged")
    if options.config is None:
        raise ConfigError("evaluate needs a CONFIG, or --qrels FILE and --run FILE ... of your own")
    if unjudged.judge_unjudged:
        from distill.pipeline.unjudged import main as judge_unjudged

        return judge_unjudged(options.run(), files, unjudged)
    files.refuse_with_config()
    return _run_stages("evaluate", options)


@stage("report")
@stage_options()
def report(options: StageOptions) -> int:
    if options.config is None or not options.config.is_dir():
        return _run_stages("report", options)
    from distill.report import overview

    print(overview.write([options.config, *map(Path, options.overrides)]))
    return 0


for _command in (
    init,
    schema,
    doctor,
    runs,
    compare,
    export,
    push,
    validate,
    index,
    search,
    rerank,
    calibrate,
    sweep,
    serve,
):
    commands.add_command(_command)


@commands.command("view", cls=Command)
@click.argument("folder", type=FILE, metavar="RUN", help="a run folder")
@click.option("--port", type=int, metavar="PORT", default=0, help="default: a free one, on 127.0.0.1")
@click.option("--page", type=FILE, metavar="FILE", help="write one self-contained page instead of serving")
@click.option(
    "--host-name", "host_names", multiple=True, metavar="NAME[:PORT]", help="also answer as this host, behind a tunnel"
)
def view(folder: Path, port: int, page: Path | None, host_names: tuple[str, ...]) -> int:
    """Read a run's traces in the browser, and decide disputes."""
    from distill.report import server, viewer

    writes_to(page.parent if page else folder)
    if page:
        print(viewer.write(folder, page))
    else:
        server.serve(folder, port, lambda address: print(address, flush=True), host_names)
    return 0


@commands.command("example-teacher", cls=Command)
@click.argument("overrides", nargs=-1, metavar="[key=value]...", help="its settings, such as wrong=0.05")
@click.option("--port", type=int, metavar="PORT", default=8000, help="default 8000; 0 takes a free one")
def example_teacher(overrides: tuple[str, ...], port: int) -> int:
    """Serve the embedded rule-based teacher on 127.0.0.1."""
    from distill import config
    from distill.example.server import serve as serve_teacher
    from distill.example.teacher import TeacherSettings

    settings = config.validate(TeacherSettings, config.apply_overrides({}, overrides), "example-teacher")
    serve_teacher(port, settings, lambda port: print(f"http://127.0.0.1:{port}/v1", flush=True))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The `distill` command; returns its exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    if wanted := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, "distill", COMPLETE, wanted)
    words = list(sys.argv[1:] if arguments is None else arguments)
    output: dict[str, Path] = {}
    try:
        with commands.make_context("distill", words, obj=output) as context:
            return int(commands.invoke(context) or 0)
    except click.exceptions.Exit as error:  # --help, --version
        return error.exit_code
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "distill"
        message = " ".join(error.format_message().split())
        print(f"distill: {message}{'' if message[-1] in '.?' else '.'} See `{path} --help`.", file=sys.stderr)
        return 2
    except DistillError as error:
        return _tell(error)
    except BrokenPipeError:  # a reader such as head that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("distill: interrupted; nothing is lost, the same command goes on from here", file=sys.stderr)
        return 3
    except (Exception, SystemExit) as error:
        from distill.disk import disk_fault
        from distill.plugins import raised

        fault = disk_fault(error, output.get(OUTPUT)) or raised(error)
        if fault is None:
            raise
        return _tell(fault)


def _tell(error: DistillError) -> int:
    from distill.inputs import named

    for line in named(str(error)).splitlines():
        print(f"distill: {line}", file=sys.stderr)
    return error.exit_code


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
