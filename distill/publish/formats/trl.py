"""TRL: prompt and completion as text (the reranker's own format) and as chat messages, and a configuration to start.

TRL puts the loss on the completion of such rows by itself. In the chat rows the reasoning is inside the content:
most chat templates drop a separate field without a word.
"""

from __future__ import annotations

from pathlib import Path

from distill.prompts import THINK
from distill.publish.formats.base import ExportCounts, Row, by_split, config
from distill.publish.rows import Kept, KeptRow

SFT = """\
# In this folder:
#   trl sft --config sft.yaml --model_name_or_path Qwen/Qwen2.5-1.5B
# dataset_name: plain, the reranker's own format (no chat template); or chat, through the model's chat template.
dataset_name: plain
output_dir: student
max_length: 2500            # TRL cuts what is longer and its verdict with it; `distill validate --max-length` finds it
learning_rate: 1.0e-4       # Rank1's, with LoRA r 32, alpha 64
num_train_epochs: 1
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
lr_scheduler_type: cosine
logging_steps: 10
report_to: none
"""
USE = """\
In this folder: `trl sft --config sft.yaml --model_name_or_path Qwen/Qwen2.5-1.5B`. `plain` holds the reranker's own
prompt, which ends in `<think>`, without a chat template; `chat` the same as messages (`--dataset_name chat`).
Without a GPU, add `--bf16 False --use_cpu True`.

TRL does not add `<think>` and `</think>` to a tokenizer that has them not, and some tokenizers merge the closing
bracket with the newline after it, across the prompt's end. `distill sft` adds both as tokens of their own.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`plain/{split}.jsonl`, `chat/{split}.jsonl`, `sft.yaml`."""
    rows = by_split(kept, out / "plain", lambda row: {"prompt": row.prompt, "completion": row.completion})
    by_split(kept, out / "chat", _chat)
    (out / "sft.yaml").write_text(SFT, encoding="utf-8")
    return ExportCounts(rows, [config(name, rows, f"{name}/{{split}}.jsonl") for name in ("plain", "chat")], USE)


def _chat(row: KeptRow) -> Row:
    return {
        "prompt": [{"role": "user", "content": row.prompt.removesuffix(f"\n{THINK}")}],
        "completion": [{"role": "assistant", "content": f"{THINK}{row.completion}"}],
    }
