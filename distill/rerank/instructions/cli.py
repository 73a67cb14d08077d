"""The command `distill sweep`: its options, and what it prints. `distill.cli` adds it."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill.commands import INPUT, Command, only_one
from distill.rerank.options import EngineOptions, InputOptions, engine_options, input_options, journal_option, say

if TYPE_CHECKING:
    from distill.rerank.modes import Mode


@click.command("sweep", cls=Command)
@input_options
@click.option(
    "--qrels", type=INPUT, metavar="FILE", required=True, help="judgements of the run's queries, BEIR or TREC"
)
@click.option("--measure", metavar="NAME", default="nDCG@10", help="by ir_measures' name (default nDCG@10)")
@click.option("--mode", metavar="MODE", help="how the student is asked (default: as it was trained)")
@click.option(
    "--dev-share", type=float, default=0.5, metavar="S", help="share of the queries to choose on (default 0.5)"
)
@click.option("--instructions", type=INPUT, metavar="FILE", help="one on each line (default: ten generic ones)")
@click.option("--paraphrases", is_flag=True, help="one instruction in five wordings, to see how far scores spread")
@click.option("--json", is_flag=True, help="print JSON")
@journal_option
@engine_options
def sweep(
    inputs: InputOptions,
    qrels: Path,
    measure: str,
    mode: Mode | None,
    dev_share: float,
    instructions: Path | None,
    paraphrases: bool,
    json: bool,
    journal: Path | None,
    engine: EngineOptions,
) -> int:
    """Try generic instructions: choose one on half of the judged queries, report it on the other half."""
    only_one(instructions=instructions, paraphrases=paraphrases)
    from distill.errors import InputError
    from distill.files.qrels import read_qrels
    from distill.rerank.instructions import GENERIC, PARAPHRASES
    from distill.rerank.instructions.sweep import as_json, table
    from distill.rerank.instructions.sweep import sweep as run_sweep
    from distill.rerank.jobs import own_calibration
    from distill.rerank.judging import judging
    from distill.rerank.student_format import usual_mode
    from distill.statistics.measures import Rankings, per_query

    if not 0 < dev_share < 1:
        raise InputError(f"--dev-share {dev_share}: a share between 0 and 1")
    judgements = read_qrels(qrels)
    pairs = inputs.judged_pairs(judgements, qrels)
    judged = {query: judgements[query] for query in {pair.query_id for pair in pairs}}

    def measured(run: Rankings) -> dict[str, float]:
        return next(iter(per_query(judged, run, [measure]).values()))

    measured({})  # a wrong name is refused before the student is loaded
    texts = _lines(instructions) if instructions else list(PARAPHRASES if paraphrases else GENERIC)
    mode = mode or usual_mode(inputs.model)
    student = engine.student(inputs.model, mode, calibration=own_calibration(inputs.model))
    with judging(student, journal, say) as judge:
        result = run_sweep(lambda asked: judge(asked, mode), pairs, texts, measured, dev_share)
    if json:
        jsonlib.dump(as_json(result), sys.stdout, indent=2)
        print()
    else:
        print(table(result, measure))
    return 0


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises DataError as `distill.files.text.lines` does."""
    from distill.files.text import lines

    return [line.strip() for _, line in lines(path, "name a file with one instruction on each line")]
