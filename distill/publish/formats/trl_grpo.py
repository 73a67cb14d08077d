"""TRL's GRPO: the prompts with what the rewards read, the rewards as a module, and a configuration to start.

A pair is one row. Rewards that need P(true) at the verdict are left out: TRL alone does not compute it.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from distill import rewards
from distill.prompts import PROMPTS, prompt_in
from distill.publish.formats.base import ExportCounts, Row, by_split, config
from distill.publish.rows import Kept, KeptRow

BUDGET = 256  # tokens of an answer beyond which the reward `length` falls
GRPO = """\
# In this folder, where rewards.py is found:
#   trl grpo --config grpo.yaml --model_name_or_path path/to/an/SFT/student
dataset_name: prompts
output_dir: student
reward_funcs: [rewards.verdict, rewards.length, rewards.form]
reward_weights: [1.0, 0.1, 0.1]
learning_rate: 1.0e-6
max_steps: 200
beta: 0.0  # above 0: weight of the KL divergence from the model that training starts from
per_device_train_batch_size: 8
num_generations: 8
gradient_accumulation_steps: 8
max_completion_length: 512
logging_steps: 1
report_to: none
"""
LEFT_OUT = ", ".join(f"`{name}`" for name in rewards.BUILT_IN if name not in rewards.ALONE)
USE = f"""\
In this folder: `trl grpo --config grpo.yaml --model_name_or_path path/to/an/SFT/student`; without a GPU, add
`--bf16 False --use_cpu True`. `rewards.py` has the rewards. {LEFT_OUT} are not in `grpo.yaml`: they read `p_true`,
the model's own probability at the verdict, which TRL alone does not compute; `distill run` with
`then: {{method: grpo}}` does. Start from a student that writes the format: its prompt ends in `<think>`.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`prompts/{split}.jsonl`, `grpo.yaml`, `rewards.py`."""
    rows = by_split(kept, out / "prompts", _row)
    (out / "grpo.yaml").write_text(GRPO, encoding="utf-8")
    (out / "rewards.py").write_text(inspect.getsource(rewards), encoding="utf-8")
    return ExportCounts(rows, [config("prompts", rows, "prompts/{split}.jsonl")], USE)


def _row(row: KeptRow) -> Row:
    words = PROMPTS[prompt_in(row.prompt)].verdicts
    return {
        "prompt": row.prompt,
        "grade": row.verdict,
        "label": row.verdict / (len(words) - 1),
        "words": list(words),
        "length_budget": BUDGET,
        "query_id": row.query_id,
    }
