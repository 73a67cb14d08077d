"""The data, configuration and commands of a monthly refresh, for its tests."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from distill.cli import main
from distill.example.folder import document_row, write_folder
from distill.example.teacher import TeacherSettings
from distill.example.world import WorldSettings, build

WORLD = build(WorldSettings(queries={"train": 36}, relevant=1, near_misses=1, same_place=0, plain=1), 0)["train"]
TINY = {"vocab_size": 512, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 128}


def write_data(folder: Path, queries: int, changed: tuple[str, ...] = ()) -> None:
    """The world's first queries with all they have, as a BEIR folder; the texts of `changed` passages are new."""
    chosen = dict(list(WORLD.queries.items())[:queries])
    labels = [(query, doc, label) for query in chosen for doc, label in WORLD.qrels[query].items()]
    there = {doc for _, doc, _ in labels}
    corpus = [document_row(doc, title, text + (" Newly painted." if doc in changed else ""))
              for doc, (title, text, _) in WORLD.documents.items() if doc in there]  # fmt: skip
    write_folder(
        folder, {"corpus": corpus, "queries": [{"_id": q, "text": t} for q, (t, _) in chosen.items()]}, labels, "train"
    )


def answered(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/health", timeout=30) as page:
        return int(json.load(page)["answered"])


def metrics(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


class Months:
    """A folder with data, a configuration, the run of the first month, and the teacher's URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.first, self.second = folder / "runs" / "first", folder / "runs" / "second"
        self.config = folder / "my.yaml"
        price = {"input": 1.0, "output": 2.0}
        values = {
            "name": "mine",
            "pairs": {"source": "beir", "path": "data", "split": {"train": 0.7, "test": 0.3}, "qrels": "train",
                      "negatives": "none"},
            "teacher": {"endpoints": [{"base_url": url, "model": TeacherSettings().model, "price": price}],
                        "concurrency": 4},
            "filters": ["finished", "parses", "has_reasoning"],
            "sft": {"base": "scratch", "scratch": TINY, "targets": ["direct"], "max_length": 400,
                    "training": {"max_steps": 4, "per_device_train_batch_size": 8, "save_strategy": "no"}},
            "evaluation": {"sets": [{"name": "test", "source": "beir", "path": "data", "split": "test",
                                     "first_stage": "bm25", "depth": 5}]},
        }  # fmt: skip
        self.config.write_text(json.dumps(values))

    def run(self, out: Path, *more: str, command: str = "run") -> int:
        return main([command, str(self.config), "--out", str(out), *more])

    def refresh(self, *more: str) -> int:
        return self.run(self.second, "--since", str(self.first), *more)
