"""The stages in their order, an earlier round's among them. Called by `distill.cli`."""

from __future__ import annotations

from distill.errors import DistillError
from distill.pipeline import dataset, evaluate, filter, pairs, sft, trace
from distill.pipeline.config import RunConfig
from distill.pipeline.rounds import Round
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, run_stages
from distill.results import Counts, Json
from distill.stages import STAGES as TABLE


def in_table(*stages: Stage) -> tuple[Stage, ...]:
    """The stages. Raises DistillError where `distill.stages` has others, or other folders."""
    here, table = ({(stage.name, stage.folder) for stage in each} for each in (stages, TABLE))
    if different := sorted(here ^ table):
        raise DistillError(
            "STAGES of distill/pipeline/stages.py and of distill/stages.py differ in the stages (name, folder) "
            f"{', '.join(map(str, different))}; give both the same names and folders"
        )
    return stages


STAGES = in_table(pairs.STAGE, trace.STAGE, filter.STAGE, dataset.STAGE, sft.STAGE, evaluate.STAGE)
WITHIN_ROUND = (filter.STAGE, dataset.STAGE, sft.STAGE)


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """The stages of a configuration: each earlier round is one, before the filters."""
    first = STAGES.index(filter.STAGE)
    return (*STAGES[:first], *(_round_stage(number) for number in range(1, config.rounds)), *STAGES[first:])


def _round_stage(number: int) -> Stage:
    name = f"round-{number}"
    needs = ("pairs", "traces", f"round-{number - 1}")[: 3 if number > 1 else 2]

    def settings(run: Run) -> Json:
        return {stage.name: stage.settings(Round(run, number)) for stage in WITHIN_ROUND}

    def inputs(run: Run) -> Counts:
        return {need: run.data_hash(need) for need in needs}

    def make(run: Run) -> Counts:
        here = Round(run, number)
        here.folder.mkdir(parents=True, exist_ok=True)
        here.write_config()
        names = tuple(stage.name for stage in WITHIN_ROUND)
        run_stages(here, WITHIN_ROUND, names)
        counts = here.metrics().stages
        (student,) = counts["sft"]["students"]
        filtered = {key: counts["filter"][key] for key in ("kept", "rejected", "by_filter")}
        return {**filtered, "student": student, "seconds_by_stage": {name: counts[name]["seconds"] for name in names}}

    return Stage(name, name, needs, settings, inputs, make)
