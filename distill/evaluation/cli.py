"""`distill evaluate` without a configuration: runs against judgements, and runs of several seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from distill.errors import ConfigError

MEASURES = ("nDCG@10", "nDCG(judged_only=True)@10", "Judged@10")


def add_arguments(evaluate: argparse.ArgumentParser) -> None:
    """What `distill evaluate` takes where no configuration is given."""
    files = evaluate.add_argument_group("runs from files, without a configuration")
    files.add_argument("--qrels", metavar="FILE", help="judgements in BEIR's or TREC's format, gzipped or not")
    files.add_argument("--run", metavar="FILE", nargs="+", action="extend", default=[], help="TREC runs, side by side")
    files.add_argument(
        "--measure",
        metavar="NAME",
        nargs="+",
        action="extend",
        help=f"as ir_measures writes them, AP, RR@10, R@100 (default: {' '.join(MEASURES)})",
    )
    files.add_argument("--baseline", metavar="NAME", help="what the others are tested against (default: the first run)")
    files.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")
    files.add_argument("--seeds", metavar="RUN", nargs="+", help="run folders that differ in their seed: the spread")
    files.add_argument("--json", metavar="FILE", help="write everything there, with the value of each query")
    files.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    files.add_argument("--latex", metavar="FILE", help="write the table as LaTeX (booktabs)")
    unjudged = evaluate.add_argument_group("unjudged passages")
    unjudged.add_argument(
        "--judge-unjudged",
        "--judge-holes",
        action="store_true",
        help="have the teacher of CONFIG grade what nobody judged, and print the measures before and after, with "
        "intervals: of the run's own sets once evaluated, or of --qrels and --run with --texts",
    )
    unjudged.add_argument(
        "--unjudged-depth", "--holes-depth", type=int, default=10, metavar="K", help="in the top K (default 10)"
    )
    unjudged.add_argument(
        "--control", type=int, default=200, metavar="N", help="judged passages that the judge is measured on (200)"
    )
    unjudged.add_argument("--texts", metavar="FOLDER", help="corpus.jsonl and queries.jsonl of --qrels and --run")


def asked_for(parsed: argparse.Namespace) -> bool:
    """Whether the command line names files of its own and so needs no configuration."""
    return not parsed.judge_unjudged and bool(parsed.qrels or parsed.run or parsed.seeds)


def need_config(parsed: argparse.Namespace) -> None:
    """Find the configuration, which argparse takes for an override after an option. Raises ConfigError without one."""
    _possible(parsed)
    if parsed.config is None and parsed.overrides and "=" not in parsed.overrides[0]:
        parsed.config = parsed.overrides.pop(0)
    if parsed.config is None and parsed.judge_unjudged:
        raise ConfigError("--judge-unjudged needs a CONFIG: its teacher grades what nobody judged")
    if parsed.config is None:
        raise ConfigError("evaluate needs a CONFIG, or --qrels FILE and --run FILE ... of your own")
    if parsed.judge_unjudged:
        return
    for name in ("measure", "baseline", "json", "markdown", "latex", "texts"):
        if getattr(parsed, name):
            raise ConfigError(
                f"--{name} is for runs of your own, with --qrels and --run; for the sets of a configuration set "
                "evaluation.measures, and see the run's evaluation/ for tables and values"
            )


def _possible(parsed: argparse.Namespace) -> None:
    """Raise ConfigError, before anything is done, for options that cannot be."""
    for name in ("json", "markdown", "latex"):
        if getattr(parsed, name) and Path(getattr(parsed, name)).is_dir():
            raise ConfigError(f"--{name} {getattr(parsed, name)}: is a folder; name a file")
    if parsed.judge_unjudged and (parsed.unjudged_depth < 1 or parsed.control < 1):
        raise ConfigError("--unjudged-depth and --control are at least 1: without judged passages no judge is measured")


def main(parsed: argparse.Namespace) -> int:
    """Evaluate what the command line names, print the table, write what is asked for."""
    from distill.evaluation import tables

    _possible(parsed)
    if parsed.config is not None:
        raise ConfigError(
            f"{parsed.config}: a configuration has its own sets; leave it out, or --qrels, --run and --seeds"
        )
    if parsed.seeds:
        from distill.evaluation.seeds import across

        result = across([Path(each) for each in parsed.seeds], parsed.seed, parsed.baseline)
        shown = [(f"{name}\n{tables.text_table(one)}", one) for name, one in result.items()]
        kept: Any = result
    else:
        result = files(parsed)
        shown, kept = [(tables.text_table(result), result)], result
    print("\n\n".join(text for text, _ in shown))
    print(f"* p < 0.05. {tables.note(shown[0][1])}", file=sys.stderr)
    write(parsed, kept, [one for _, one in shown])
    return 0


def files(parsed: argparse.Namespace) -> dict[str, Any]:
    """What the named runs give. Raises ConfigError where judgements or runs are not named."""
    from distill.evaluation.files import evaluate_files

    if not parsed.qrels or not parsed.run:
        raise ConfigError("evaluate without a configuration needs both --qrels FILE and --run FILE ...")
    measures = parsed.measure or list(MEASURES)
    return evaluate_files(Path(parsed.qrels), [Path(r) for r in parsed.run], measures, parsed.seed, parsed.baseline)


def write(parsed: argparse.Namespace, result: Any, tables_of: list[dict[str, Any]]) -> None:
    """Write --json, --markdown and --latex where they are asked for."""
    from distill import store
    from distill.evaluation import tables

    for path in filter(None, (parsed.json, parsed.markdown, parsed.latex)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if parsed.json:
        store.write_json(parsed.json, result)
    if parsed.markdown:
        Path(parsed.markdown).write_text("\n".join(map(tables.markdown_table, tables_of)), encoding="utf-8")
    if parsed.latex:
        Path(parsed.latex).write_text("\n".join(map(tables.latex_table, tables_of)), encoding="utf-8")
