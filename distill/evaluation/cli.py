"""The options of `distill evaluate` without a configuration: runs from files, runs of several seeds, unjudged passages.

`distill.cli` adds them to the command and calls `evaluate_without_config` where no configuration is given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill.commands import FILE, INPUT, Several, collected, writes_to
from distill.errors import ConfigError
from distill.tables import counted_phrase

if TYPE_CHECKING:
    from distill.results import EvaluationResult

MEASURES = ("nDCG@10", "nDCG(judged_only=True)@10", "Judged@10")


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Judgements and runs from files, and where the tables go."""

    qrels: Path | None
    run: tuple[Path, ...]
    measure: tuple[str, ...]
    baseline: str | None
    seed: int
    seeds: tuple[Path, ...]
    json: Path | None
    markdown: Path | None
    latex: Path | None
    texts: Path | None

    @property
    def without_config(self) -> bool:
        """Whether files are named, so that no configuration is needed."""
        return bool(self.qrels or self.run or self.seeds)

    def check(self) -> None:
        """Raise ConfigError for a table that cannot be written."""
        for name, path in {"json": self.json, "markdown": self.markdown, "latex": self.latex}.items():
            if path and path.is_dir():
                raise ConfigError(f"--{name} {path}: is a folder; name a file")

    def refuse_with_config(self) -> None:
        """Raise ConfigError for an option that would change nothing where a configuration is given."""
        given = {"measure": self.measure, "baseline": self.baseline, "json": self.json, "markdown": self.markdown}
        for name, value in (given | {"latex": self.latex, "texts": self.texts}).items():
            if value:
                raise ConfigError(
                    f"--{name} is for runs of your own, with --qrels and --run; for the sets of a configuration set "
                    "evaluation.measures, and see the run's evaluation/ for tables and values"
                )

    def write(self, result: object, tables_of: Sequence[EvaluationResult]) -> None:
        """Write --json, --markdown and --latex where they are asked for."""
        from distill import store
        from distill.evaluation import tables
        from distill.results import as_json

        for path in filter(None, (self.json, self.markdown, self.latex)):
            writes_to(path.parent).mkdir(parents=True, exist_ok=True)
        if self.json:
            store.write_json(self.json, as_json(result))
        if self.markdown:
            self.markdown.write_text("\n".join(map(tables.markdown_table, tables_of)), encoding="utf-8")
        if self.latex:
            self.latex.write_text("\n".join(map(tables.latex_table, tables_of)), encoding="utf-8")


file_options = collected(
    "files",
    FileOptions,
    click.option("--qrels", type=INPUT, metavar="FILE", help="judgements in BEIR's or TREC's format, gzipped or not"),
    click.option("--run", cls=Several, type=INPUT, metavar="FILE", help="TREC runs to compare"),
    click.option(
        "--measure",
        cls=Several,
        metavar="NAME",
        help=f"as ir_measures writes them, AP, RR@10, R@100 (default: {' '.join(MEASURES)})",
    ),
    click.option("--baseline", metavar="NAME", help="what the others are tested against (default: the first run)"),
    click.option("--seed", type=int, metavar="N", default=0, help="of the resampling (default 0)"),
    click.option(
        "--seeds", cls=Several, type=FILE, metavar="RUN", help="run folders that differ in their seed: the spread"
    ),
    click.option("--json", type=FILE, metavar="FILE", help="write all results there, with the value of each query"),
    click.option("--markdown", type=FILE, metavar="FILE", help="write the table as Markdown"),
    click.option("--latex", type=FILE, metavar="FILE", help="write the table as LaTeX (booktabs)"),
    click.option("--texts", type=INPUT, metavar="FOLDER", help="corpus.jsonl and queries.jsonl of --qrels and --run"),
)


@dataclass(frozen=True, slots=True)
class UnjudgedOptions:
    """Whether and how passages that nobody judged are graded by the teacher."""

    judge_unjudged: bool
    unjudged_depth: int
    control: int

    def check(self) -> None:
        """Raise ConfigError for numbers that cannot be."""
        if self.judge_unjudged and (self.unjudged_depth < 1 or self.control < 1):
            raise ConfigError(
                "--unjudged-depth and --control are at least 1: without judged passages no judge is measured"
            )


unjudged_options = collected(
    "unjudged",
    UnjudgedOptions,
    click.option(
        "--judge-unjudged",
        "--judge-holes",
        is_flag=True,
        help="have the teacher of CONFIG grade what nobody judged, and print the measures before and after, with "
        "intervals: of the run's own sets once evaluated, or of --qrels and --run with --texts",
    ),
    click.option(
        "--unjudged-depth",
        "--holes-depth",
        type=int,
        default=10,
        metavar="K",
        help="--judge-unjudged: in the top K (default 10)",
    ),
    click.option(
        "--control",
        type=int,
        default=200,
        metavar="N",
        help="--judge-unjudged: judged passages that the judge is measured on (default 200)",
    ),
)


def evaluate_without_config(files: FileOptions) -> int:
    """Evaluate what the command line names, print the table, write what is asked for; returns 0.

    Raises ConfigError where judgements or runs are not named.
    """
    from distill.evaluation import tables

    if files.seeds:
        from distill.evaluation.seeds import across

        by_set = across(files.seeds, files.seed, files.baseline)
        print("\n\n".join(f"{name}\n{tables.text_table(result)}" for name, result in by_set.items()))
    else:
        from distill.evaluation.files import evaluate_files

        if not files.qrels or not files.run:
            raise ConfigError("evaluate without a configuration needs both --qrels FILE and --run FILE ...")
        result = evaluate_files(files.qrels, files.run, files.measure or MEASURES, files.seed, files.baseline)
        by_set = {"": result}
        print(tables.text_table(result))
    for name, result in by_set.items():
        for what, count in (result.left_out or {}).items():
            print(f"{counted_phrase(count, what)}{f' ({name})' if name else ''}", file=sys.stderr)
    files.write(by_set.get("", by_set), list(by_set.values()))
    print(f"* p < 0.05. {tables.note(next(iter(by_set.values())))}", file=sys.stderr)
    return 0
