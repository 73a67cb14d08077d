"""Chat messages, the reasoning in `reasoning_content` as DeepSeek and Qwen3's chat templates have it."""

from __future__ import annotations

from pathlib import Path

from distill.prompts import END_THINK, THINK
from distill.publish.formats.base import ExportCounts, Row, by_split, config
from distill.publish.rows import Kept, KeptRow

USE = """\
Each row's `messages` are the user's prompt and the assistant's answer; its reasoning is the field `reasoning_content`
of the answer, its `content` is `true` or `false`, or a grade's word. A chat template that does not know the field drops
it silently: render one row and look, before training.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`{split}.jsonl`."""
    rows = by_split(kept, out, _messages)
    return ExportCounts(rows, [config("default", rows, "{split}.jsonl")], USE)


def _messages(row: KeptRow) -> Row:
    answer = row.completion.rpartition(END_THINK)[2].strip()
    return {
        "messages": [
            {"role": "user", "content": row.prompt.removesuffix(f"\n{THINK}")},
            {"role": "assistant", "reasoning_content": row.reasoning, "content": answer},
        ],
        "pair_id": row.pair_id,
        "label": row.label,
    }
