"""The one table of the pipeline's stages: name, folder, title, help. Read by the command line, pipeline and report."""

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
    StageName("pairs", "pairs", "Pairs", "Queries and passages with labels, mined negatives included."),
    StageName("trace", "traces", "Teacher", "Ask the teacher why each passage is or is not relevant."),
    StageName(
        "filter", "kept", "Filters", "Keep the traces that pass all filters, and list the rest, each with a reason."
    ),
    StageName("dataset", "dataset", "Dataset", "Training rows for each student."),
    StageName("sft", "students", "Training", "Train the students."),
    StageName("evaluate", "evaluation", "Evaluation", "Rerank the first stage's lists and measure."),
)
BY_NAME = {stage.name: stage for stage in STAGES}
FOLDERS = frozenset(stage.folder for stage in STAGES)
