"""TRL's on-policy distillation: the prompts, and a configuration to start, in which the teacher is the user's own."""

from __future__ import annotations

from pathlib import Path

from distill.publish.formats.base import ExportCounts, by_split, config
from distill.publish.rows import Kept

DISTILLATION = """\
# In this folder:
#   trl distillation --config distillation.yaml --model_name_or_path path/to/an/SFT/student \\
#       --teacher_model_name_or_path path/to/a/larger/model/of/the/same/vocabulary
dataset_name: prompts
output_dir: student
learning_rate: 1.0e-6
max_steps: 200
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
max_completion_length: 512
logging_steps: 1
report_to: none
"""
USE = """\
In this folder: `trl distillation --config distillation.yaml --model_name_or_path STUDENT` with
`--teacher_model_name_or_path TEACHER`; without a GPU, add `--bf16 False --use_cpu True`. The teacher has the student's
vocabulary and was itself trained on the format: the prompt ends in `<think>`. Labels and traces are not read by this
method and not in the rows.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`prompts/{split}.jsonl`, `distillation.yaml`."""
    rows = by_split(kept, out / "prompts", lambda row: {"prompt": row.prompt})
    (out / "distillation.yaml").write_text(DISTILLATION, encoding="utf-8")
    return ExportCounts(rows, [config("prompts", rows, "prompts/{split}.jsonl")], USE)
