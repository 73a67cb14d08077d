"""The classes of docs/architecture.md, and a run that uses them. For test_architecture and test_plugin_faults."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
BLOCKS = dict(re.findall(r"^# (\w+\.py)\n(.*?)(?=^# \w+\.py$|\Z)", CODE, re.DOTALL | re.MULTILINE))
STAGE = BLOCKS.pop("words.py")
NAMES = {file: re.search(rf'"?({file}:\w+)', TEXT) for file in BLOCKS}


def named(file: str) -> str:
    """The name by which the page has it in a configuration."""
    match = NAMES[file]
    assert match, file
    return match[1]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which source, teacher, filter, target and evaluation set are the page's."""
    folder = tmp_path_factory.mktemp("architecture")
    for file, code in BLOCKS.items():
        (folder / file).write_text(code, encoding="utf-8")
    towns = ("Aldea", "Brook", "Corin", "Delmar", "Estow", "Fenby", "Garth", "Holm", "Ilmen", "Jarrow", "Kelso", "Lund")
    lines = [f"who is the mayor of {town} = The mayor of {town} is Ms {town[::-1]}." for town in towns]
    (folder / "faq.txt").write_text("\n".join(lines) + "\n")
    beir(folder / "set")
    config: dict[str, Any] = {
        "name": "own", "seed": 0,
        "pairs": {"source": named("faq.py"), "path": "faq.txt", "negatives": {"miner": "random", "per_query": 1}},
        "teacher": {"source": named("mine.py")},
        "filters": ["finished", {named("short.py"): {"most": 80}}, "verdict_matches_label"],
        "sft": {
            "base": "scratch", "targets": [named("brief.py")], "max_length": 320, "order_by": "prompt",
            "scratch": {"vocab_size": 400, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 128},
            "training": {"max_steps": 2, "per_device_train_batch_size": 4},
        },
        "evaluation": {
            "sets": [{"name": "mine", "path": "set", "kind": named("titled.py"), "depth": 3}], "max_new_tokens": 8,
        },
    }  # fmt: skip
    (folder / "run.yaml").write_text(json.dumps(config))
    assert main(["run", str(folder / "run.yaml"), "--out", str(folder / "run")]) == 0
    return folder


def beir(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"d{n}", "title": "", "text": f"The ferry of harbour {n} leaves at {n} o'clock."} for n in range(4)
    ]
    queries = [{"_id": f"q{n}", "text": f"when does the ferry of harbour {n} leave"} for n in range(4)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(4))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def reranked(folder: Path, *more: str) -> int:
    (folder / "first.trec").write_text(
        "".join(f"q{n} Q0 d{d} {d + 1} {4 - d} bm25\n" for n in range(4) for d in range(3))
    )
    command = ["rerank", "--model", "run/students/brief", "--queries", "set/queries.jsonl", "--run", "first.trec"]
    return main([*command, "--corpus", "set/corpus.jsonl", *more])
