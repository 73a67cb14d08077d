"""The one table of the pipeline's stages: name, folder and title. Read by the command line, the pipeline and the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageName:
    """A stage's command and its name in metrics.json, the folder of its rows, its title in the report, its help."""

    name: str
    folder: str
    title: str
    help: str


STAGES = (
    StageName("pairs", "pairs", "Pairs", "queries and passages with labels, mined negatives included"),
    StageName("trace", "traces", "Teacher", "ask the teacher why each passage is or is not relevant"),
    StageName("filter", "kept", "Filters", "keep the traces that deserve to be kept, the rest with a reason each"),
    StageName("dataset", "dataset", "Dataset", "training rows for each student"),
    StageName("sft", "students", "Training", "train the students"),
    StageName("evaluate", "evaluation", "Evaluation", "rerank the first stage's lists and measure"),
)
BY_NAME = {stage.name: stage for stage in STAGES}
FOLDERS = frozenset(stage.folder for stage in STAGES)
