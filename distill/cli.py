"""The command line. Exit status: 0 done, 2 wrong input (one line), 3 stopped with work left, 1 anything else."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from distill import __version__
from distill.errors import DistillError

if TYPE_CHECKING:
    from distill.pipeline.run import Run

STAGES = {
    "run": "the whole line; stages whose inputs and settings are unchanged are skipped",
    "pairs": "queries and passages with labels, mined negatives included",
    "trace": "ask the teacher why each passage is or is not relevant",
    "filter": "keep the traces that deserve to be kept, the rest with a reason each",
    "dataset": "training rows for each student",
    "sft": "train the students",
    "evaluate": "rerank the first stage's lists and measure",
    "report": "draw report.html from what is there",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser; its help text is what docs/cli.md shows."""
    parser = argparse.ArgumentParser(
        prog="distill", description="Distil reasoning rerankers: pairs, teacher, filters, SFT, evaluation, report."
    )
    parser.add_argument("--version", action="version", version=f"distill {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    stages: dict[str, argparse.ArgumentParser] = {}
    for name, text in STAGES.items():
        sub = stages[name] = commands.add_parser(name, help=text, description=text)
        nargs = "?" if name == "evaluate" else None
        sub.add_argument("config", nargs=nargs, metavar="CONFIG", help="a YAML file; its paths are relative to it")
        sub.add_argument("overrides", default=[], nargs="*", metavar="key.path=value", help="settings on top")
        sub.add_argument("--out", metavar="DIR", help="the run folder (default: runs/NAME)")
        sub.add_argument("--dry-run", action="store_true", help="check the configuration and say what would be done")
    stages["filter"].add_argument("--explain", metavar="PAIR_ID", help="only say what each filter says of this pair")
    from distill.evaluation.cli import add_arguments as add_evaluation

    add_evaluation(stages["evaluate"])
    stages["trace"].add_argument("--retry-failed", action="store_true", help="ask again what failed for good")

    from distill.publish.cli import add_arguments

    add_arguments(commands)
    from distill.rerank.cli import add_arguments as add_reranking

    add_reranking(commands)
    sub = commands.add_parser("view", help="read a run's traces in the browser, and decide disputes")
    sub.add_argument("run", metavar="RUN", help="a run folder")
    sub.add_argument("--port", type=int, default=0, help="default: a free one, on 127.0.0.1")
    sub.add_argument("--page", metavar="FILE", help="write one self-contained page instead of serving")
    sub = commands.add_parser("example-teacher", help="serve the embedded rule-based teacher on 127.0.0.1")
    sub.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    sub.add_argument("overrides", default=[], nargs="*", metavar="key=value", help="its settings, such as wrong=0.05")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The `distill` command; returns its exit status."""
    parser = build_parser()
    parsed, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(parsed, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # key.path=value after an option, which argparse does not collect by itself
        parsed.overrides += rest
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if parsed.command == "example-teacher":
            return _example_teacher(parsed)
        if parsed.command == "view":
            return _view(parsed)
        if parsed.command == "serve":
            from distill.rerank.serve.cli import main as serve

            return serve(parsed)
        if parsed.command in ("export", "validate"):
            from distill.publish.cli import main as dataset

            return dataset(parsed)
        if parsed.command == "evaluate":
            from distill.evaluation import cli as evaluation

            if evaluation.asked_for(parsed):
                return evaluation.main(parsed)
            if parsed.judge_unjudged:
                from distill.pipeline.unjudged import main as judge_unjudged

                return judge_unjudged(parsed)
            evaluation.need_config(parsed)
        if parsed.command in ("rerank", "calibrate", "sweep"):
            return _rerank(parsed)
        return _stages(parsed)
    except DistillError as error:
        for line in str(error).splitlines():
            print(f"distill: {line}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # a reader such as head that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("distill: interrupted; nothing is lost, the same command goes on from here", file=sys.stderr)
        return 3


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _stages(parsed: argparse.Namespace) -> int:
    from distill import config, store
    from distill.pipeline.ablation import configured, run_variants, variants
    from distill.pipeline.config import RunConfig
    from distill.pipeline.rounds import line_of
    from distill.pipeline.run import Run
    from distill.pipeline.sources import check
    from distill.pipeline.stage import plan, run_stages
    from distill.pipeline.stages import LINE

    origin = Path(parsed.config)
    settings = config.load(RunConfig, origin, parsed.overrides)
    run = Run(settings, Path(parsed.out) if parsed.out else Path("runs") / settings.name, origin)
    for variant in (planned := variants(settings)):
        configured(run, variant, parsed.overrides)  # a wrong variant is refused before anything is run
    line = line_of(settings, LINE)
    run.claim()
    if parsed.dry_run:
        from distill.pipeline import dry_run

        for warning in dry_run.warnings(run):
            print(f"distill: warning: {warning}", file=sys.stderr)
        print(settings.model_dump_json(indent=2, exclude_none=True))
        for name, due in plan(run, line):
            print(f"{name}: {'to do' if due else 'unchanged'}")
        for variant in planned if parsed.command == "run" else ():
            print(f"ablation: {variant.label}")
        if parsed.command in ("run", "trace"):
            print(*(f"teacher: {text}" for text in dry_run.teacher_lines(run)), sep="\n")
        if parsed.command in ("run", "sft"):
            print(*(f"sft: {text}" for text in dry_run.training_lines(run)), sep="\n")
        return 0
    check(run)
    if getattr(parsed, "explain", None):
        return _explain(run, parsed.explain)
    run.retry_failed = getattr(parsed, "retry_failed", False)
    names = (*(stage.name for stage in line), "report") if parsed.command == "run" else (parsed.command,)
    with store.lease(run.folder):
        run.claim()
        run.write_config()
        if settings.ablate and parsed.command == "run":
            run_stages(run, line, tuple(stage.name for stage in line))
            run_variants(run, lambda each: line_of(each, LINE), parsed.overrides)
            names = ("report",)
        run_stages(run, line, names)
    return 0


def _explain(run: Run, pair_id: str) -> int:
    from distill.pipeline.stages import explain

    for sample, name, word in explain(run, pair_id):
        print(f"sample {sample}  {name}: {word}")
    return 0


def _rerank(parsed: argparse.Namespace) -> int:
    from distill.files.qrels import read_qrels
    from distill.files.runs import Rankings, read_run, write_run
    from distill.rerank.cli import Readers, main
    from distill.statistics.measures import Qrels, per_query

    def measure(qrels: Qrels, name: str) -> Callable[[Rankings], Mapping[str, float]]:
        return lambda run: next(iter(per_query(qrels, run, [name]).values()))

    return main(parsed, Readers(read_run, write_run, read_qrels, measure))


def _view(parsed: argparse.Namespace) -> int:
    from distill.report import server, viewer

    if parsed.page:
        print(viewer.write(Path(parsed.run), Path(parsed.page)))
    else:
        server.serve(Path(parsed.run), parsed.port, lambda address: print(address, flush=True))
    return 0


def _example_teacher(parsed: argparse.Namespace) -> int:
    from distill import config
    from distill.example.server import serve
    from distill.example.teacher import TeacherSettings

    settings = config.validate(TeacherSettings, config.apply_overrides({}, parsed.overrides), "example-teacher")
    serve(parsed.port, settings, lambda port: print(f"http://127.0.0.1:{port}/v1", flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
