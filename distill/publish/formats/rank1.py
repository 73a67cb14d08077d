"""Rank1's published training data: a JSON array a split, with `instruction`, `input`, `output`.

Columns and file name: the card of jhu-clsp/rank1-training-data and train_configs/README.md of orionw/rank1
(`train.json`, LLaMA-Factory's alpaca format, `template: empty`). LLaMA-Factory joins instruction and input by a newline
and puts nothing before the output, so the input here ends in the newline that is before `<think>` in the prompt.
"""

from __future__ import annotations

import json
from pathlib import Path

from distill.prompts import THINK
from distill.publish.formats.base import ExportCounts, Files, Row, config
from distill.publish.rows import Kept, KeptRow, hub_split

USE = """\
The columns are those of `jhu-clsp/rank1-training-data`; `instruction`, a newline, `input` and `output` make up the text
of Rank1's prompt and answer. Rank1's own LLaMA-Factory configurations take `train.json` as it is (`template: empty`).\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`{split}.json`, streamed."""
    with Files(out, "{split}.json", "[\n", "\n]\n") as arrays:
        for row in kept.rows():
            split = hub_split(row.split)
            arrays.write(split, (",\n" if arrays.rows[split] else "") + json.dumps(alpaca(row), ensure_ascii=False))
    return ExportCounts(dict(arrays.rows), [config("default", arrays.rows, "{split}.json")], USE)


def alpaca(row: KeptRow) -> Row:
    """instruction, newline, input, output = prompt and completion, byte for byte."""
    instruction, _, rest = row.prompt.removesuffix(THINK).partition("\n")
    return {"instruction": instruction, "input": rest, "output": THINK + row.completion}
