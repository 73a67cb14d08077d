"""LLaMA-Factory: ShareGPT conversations and the `dataset_info.json` that names them.

Schema: data/README.md of hiyouga/LLaMA-Factory (human at odd places, gpt at even ones). With `template: empty`, Rank1's
own choice, the two turns are joined without anything between, so prompt and answer make up the student's text byte for
byte; the prompt's `<think>` is at the head of the answer, as in Rank1's data.
"""

from __future__ import annotations

import json
from pathlib import Path

from distill.prompts import THINK
from distill.publish.formats.base import ExportCounts, Row, by_split, config, in_order
from distill.publish.rows import Kept, KeptRow, hub_split

USE = """\
`dataset_info.json` names the splits; as Rank1 was trained (LoRA r 32, alpha 64, no chat template):

```yaml
# llamafactory-cli train this.yaml
stage: sft
do_train: true
model_name_or_path: Qwen/Qwen2.5-1.5B
finetuning_type: lora
lora_rank: 32
lora_alpha: 64
lora_target: all
dataset_dir: .
dataset: {names}
template: empty
cutoff_len: 2500
new_special_tokens: "<think>,</think>"
resize_vocab: true
output_dir: student
learning_rate: 1.0e-4
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.05
bf16: true
```\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`{split}.jsonl` and `dataset_info.json`, whose names are NAME_SPLIT."""
    rows = by_split(kept, out, conversation)
    stem = hub_split(name.rpartition("/")[2])
    info = {
        f"{stem}_{split}": {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
        }
        for split in in_order(rows)
    }
    (out / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    return ExportCounts(rows, [config("default", rows, "{split}.jsonl")], USE.format(names=next(iter(info), stem)))


def conversation(row: KeptRow) -> Row:
    """The two turns, whose values joined are the row's prompt and completion."""
    return {
        "conversations": [
            {"from": "human", "value": row.prompt.removesuffix(THINK)},
            {"from": "gpt", "value": THINK + row.completion},
        ]
    }
