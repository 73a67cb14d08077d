"""A misbehaving server and settings that name it, for the tests of this room."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.records import Pair, make_pair
from teacher.client import PROBE
from teacher.settings import TeacherSettings

SERVER = Path(__file__).resolve().parents[2] / "benchmarks" / "teacher" / "server.py"
PROBE_KEYS = [  # the preflight has the run's own seed
    hashlib.sha1(json.dumps([PROBE, seed]).encode()).hexdigest()[:16] for seed in (None, 0, 1, 2)
]


@dataclass
class Server:
    """A running server: its URL, and what it did."""

    url: str

    def get(self, path: str) -> Any:
        """A JSON page."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + path, timeout=10) as page:
            return json.load(page)

    def answers(self) -> Counter[str]:
        """How often each prompt was answered in full; the preflight and probes left out."""
        return Counter(key for _, _, key, kind in self.get("/log") if kind == "answer" and key not in PROBE_KEYS)

    def kinds(self) -> Counter[str]:
        """How often each kind of thing happened."""
        return Counter(kind for _, _, _, kind in self.get("/log"))

    def change(self, **values: Any) -> None:
        """Change its settings while it runs."""
        request = urllib.request.Request(self.url.removesuffix("/v1") + "/set", json.dumps(values).encode())
        with urllib.request.urlopen(request, timeout=10):
            pass


def make_pairs(count: int, label: int | None = 1) -> list[Pair]:
    """Pairs in the order in which the pairs stage writes them."""
    made = [make_pair(f"q{n}", f"d{n}", f"query {n}", f"passage {n} of a text", label=label) for n in range(count)]
    return sorted(made, key=lambda pair: pair.pair_id)


def settings_for(*servers: Server, **more: Any) -> TeacherSettings:
    """Settings that name these servers, quick to give up."""
    price = {"input": 1.0, "output": 2.0}
    endpoints = [{"base_url": server.url, "model": "bench", "price": price} for server in servers]
    values = {"endpoints": endpoints, "deadline_s": 2.0, "concurrency": 32, "max_tokens": 512, **more}
    return TeacherSettings.model_validate(values)


def own_run(folder: Path, server: Server, **endpoint: Any) -> Path:
    """A configuration and data of its own: nine queries and passages, asked at this server."""
    (folder / "data" / "qrels").mkdir(parents=True)
    for name, mark, word in (("corpus", "d", "text"), ("queries", "q", "query")):
        rows = (json.dumps({"_id": f"{mark}{n}", "text": f"{word} number {n} of nine"}) for n in range(9))
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(9))
    (folder / "data" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    values = {
        "name": "own",
        "pairs": {"source": "beir", "path": "data", "split": "train"},
        "teacher": {"endpoints": [{"base_url": server.url, "model": "bench", **endpoint}], "concurrency": 4},
        "evaluation": {"sets": []},
    }
    config = folder / "own.yaml"
    config.write_text(json.dumps(values))
    return config
