"""Synthetic pairs and traces of any number, streamed to disk; `run.py` and the slow test of scale call it.

The texts are those of benchmarks/filters/make.py: five passages a query, traces of 270 tokens, of which the default
filters keep about 94 %. Two of five pairs have a trace.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "filters"))
import make

TRACED = (2, 5)  # so many of so many pairs have a trace
TARGETS = ("think", "direct")
BASE_PAIRS = 2_000


def write_data(folder: Path, pairs: int) -> None:
    """Write `folder`/pairs.jsonl and `folder`/traces.jsonl, unless they are there."""
    done = folder / f"done-{pairs}"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "pairs.jsonl", "w", encoding="utf-8") as pairs_file,
        open(folder / "traces.jsonl", "w", encoding="utf-8") as traces_file,
    ):
        query = ""
        for number, (pair, trace) in enumerate(make.rows(pairs)):
            query = pair.query if number % 5 == 0 else query  # the five pairs of a query share its text
            ids = {"query_id": pair.query_id, "doc_id": pair.doc_id}
            row = {**ids, "query": query, "passage": pair.passage, "label": pair.label}
            pairs_file.write(json.dumps(row) + "\n")
            if number % TRACED[1] < TRACED[0]:
                said = {"reasoning": trace.reasoning, "content": trace.content, "finish_reason": trace.finish_reason}
                traces_file.write(json.dumps({**ids, **said}, ensure_ascii=False) + "\n")
    done.touch()


def config(data: Path, base: str) -> str:
    """A run's configuration: traces by import, two students with one step each, 50 queries of the test part judged.

    One step is enough, since the rows are encoded before it; `base` is a model's folder, or `scratch`.
    """
    small = {"vocab_size": 8192, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 128}
    raw = {
        "name": "scale",
        "pairs": {
            "source": "table",
            "path": str(data / "pairs.jsonl"),
            "split": {"train": 0.98, "test": 0.02},
            "ask": ["train", "test"],
        },
        "teacher": {"source": "import", "import": {"path": str(data / "traces.jsonl")}},
        "sft": {
            "base": base,
            **({"scratch": small} if base == "scratch" else {}),
            "targets": list(TARGETS),
            "training": {"max_steps": 1, "per_device_train_batch_size": 8},
        },
        "evaluation": {
            "sets": [{"name": "test", "source": "pairs", "split": "test", "depth": 5, "queries": 50}],
            "systems": ["direct"],
        },
    }
    return yaml.safe_dump(raw, sort_keys=False)
