"""`distill sweep`: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.records import Pair
    from distill.rerank.instructions.sweep import Measure
    from distill.rerank.reranker import Reranker


def add_arguments(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    inputs: Callable[[argparse.ArgumentParser], None],
    engine: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command; `inputs` and `engine` add the options that `distill rerank` has too."""
    text = "try generic instructions: choose one on half of the judged queries, report it on the other half"
    sub = commands.add_parser("sweep", help=text, description=text)
    inputs(sub)
    sub.add_argument("--qrels", metavar="FILE", required=True, help="judgements of the run's queries, BEIR or TREC")
    sub.add_argument("--measure", default="nDCG@10", help="by ir_measures' name (default nDCG@10)")
    sub.add_argument("--mode", default="think", help="how the student is asked (default think)")
    sub.add_argument(
        "--dev-share", type=float, default=0.5, metavar="S", help="of the queries, to choose on (default 0.5)"
    )
    group = sub.add_mutually_exclusive_group()
    group.add_argument("--instructions", metavar="FILE", help="one a line (default: ten generic ones)")
    group.add_argument(
        "--paraphrases", action="store_true", help="one instruction in five wordings: the spread is the point"
    )
    sub.add_argument("--json", action="store_true", help="print JSON")
    engine(sub)


def main(
    parsed: argparse.Namespace,
    pairs: list[Pair],
    reranker: Reranker,
    measure: Callable[[Mapping[str, Mapping[str, float]]], Mapping[str, float]] | Measure,
) -> int:
    """Sweep and print; returns 0. Raises InputError for the user's faults."""
    from distill.errors import InputError
    from distill.rerank.instructions import GENERIC, PARAPHRASES
    from distill.rerank.instructions.sweep import as_json, sweep, table

    if not 0 < parsed.dev_share < 1:
        raise InputError(f"--dev-share {parsed.dev_share}: a share between 0 and 1")
    instructions = list(PARAPHRASES if parsed.paraphrases else GENERIC)
    if parsed.instructions:
        path = Path(parsed.instructions)
        try:
            instructions = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); one instruction a line, UTF-8") from None
    found = sweep(reranker.predict, pairs, instructions, measure, parsed.dev_share)
    if parsed.json:
        json.dump(as_json(found), sys.stdout, indent=2)
        print()
    else:
        print(table(found, parsed.measure))
    return 0
