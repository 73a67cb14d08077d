"""The whole pipeline of `configs/local-teacher.yaml` with a real model behind llama.cpp's server, over real HTTP.

The pairs are judged ones of DL19 where the shared data lies next to the project, and the example's elsewhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill.cli import main
from distill.example.world import WorldSettings, build
from distill.records import Trace
from distill.store import read_rows
from tests.llama_server import llama_server

ROOT = Path(__file__).resolve().parents[1]
DL19 = ROOT.parent / "shared/data/dl19-passage"
CONFIG = str(ROOT / "configs" / "local-teacher.yaml")
QUERIES = 14  # of which 10 are asked about, each with a relevant and another passage


@dataclass(frozen=True, slots=True)
class Judged:
    """A passage and the grade that it has for a query."""

    query_id: str
    query: str
    doc_id: str
    passage: str
    grade: int


def dl19(folder: Path) -> Iterator[Judged]:
    """Short passages of TREC DL 2019 that people judged as relevant (2, 3) or not at all (0)."""
    texts = {row["_id"]: row["text"] for row in map(json.loads, (folder / "corpus.jsonl").open(encoding="utf-8"))}
    queries = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").open(encoding="utf-8"))}
    for line in sorted((folder / "qrels" / "test.tsv").read_text().splitlines()[1:]):
        query, doc, grade = line.split("\t")
        if grade != "1" and len(texts[doc].split()) < 50:
            yield Judged(query, queries[query], doc, texts[doc], int(grade))


def example() -> Iterator[Judged]:
    """Passages of the example's world."""
    split = build(WorldSettings(queries={"train": QUERIES}))["train"]
    for query, labels in split.qrels.items():
        for doc, label in labels.items():
            yield Judged(query, split.queries[query][0], doc, split.documents[doc][1], 2 * label)


def write_collection(judged: Iterable[Judged], folder: Path) -> None:
    """A relevant passage and another one for each of some queries, in BEIR's layout."""
    by_query: dict[str, dict[bool, Judged]] = defaultdict(dict)
    for row in judged:
        by_query[row.query_id].setdefault(row.grade >= 2, row)
    chosen = [sides for sides in by_query.values() if len(sides) == 2][:QUERIES]
    assert len(chosen) == QUERIES
    rows = [sides[side] for sides in chosen for side in (True, False)]
    (folder / "qrels").mkdir(parents=True)
    lines = "".join(f"{row.query_id}\t{row.doc_id}\t{row.grade}\n" for row in rows)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    for name, texts in (
        ("queries", {row.query_id: row.query for row in rows}),
        ("corpus", {row.doc_id: row.passage for row in rows}),
    ):
        lines = "".join(json.dumps({"_id": identity, "text": text}) + "\n" for identity, text in texts.items())
        (folder / f"{name}.jsonl").write_text(lines)


@pytest.mark.slow
def test_twenty_pairs_with_a_teacher_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [ROOT / "models" / f"{name}.gguf" for name in ("qwen-0.5b", "smollm2-135m")]
    model = next((file for file in found if file.is_file()), None)
    if model is None:
        pytest.skip(f"needs the real base at {found[-1]} (make real-base)")
    data, out = tmp_path / "judged", tmp_path / "run"
    write_collection(dl19(DL19) if DL19.is_dir() else example(), data)
    sets = [
        {"name": name, "source": "beir", "path": str(data), "split": name, "first_stage": "bm25", "depth": 2}
        for name in ("dev", "test")
    ]
    given = [
        f"pairs.path={data}", "pairs.split={train: 0.71, dev: 0.15, test: 0.14}", "pairs.relevant_from=2",
        "pairs.negatives=none", "teacher.max_tokens=160", "teacher.concurrency=4",
        "filters=[finished, parses, has_reasoning]",  # with 20 pairs of a small model the others may keep nothing
        "sft.base=scratch", "sft.lora=null", "sft.think_tokens=added",
        "sft.scratch={layers: 2, width: 64, heads: 2, kv_heads: 2, ffn: 128}",
        "sft.training.max_steps=4", f"evaluation.sets={json.dumps(sets)}",
    ]  # fmt: skip
    with llama_server(model) as url:
        given.append(f"teacher.endpoints=[{{base_url: '{url}', model: {model.stem}, price: {{input: 0, output: 0}}}}]")
        assert main(["run", CONFIG, *given, "--out", str(out)]) == 0
    traces = list(read_rows(out / "traces", Trace))
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(traces) == metrics["stages"]["pairs"]["by_split"]["train"] == 20
    assert all(trace.error is None and trace.completion_tokens > 0 for trace in traces)
    readable = [trace for trace in traces if trace.verdict is not None]
    explained = sum(bool(trace.reasoning) for trace in readable)
    assert len(readable) >= 5 and explained >= (len(readable) * 0.7 if model.stem == "qwen-0.5b" else 1)
    assert not any("Verdict:" in trace.reasoning for trace in readable if trace.content.startswith("Verdict:"))
    assert metrics["stages"]["filter"]["kept"] >= 1
    assert {"first_stage", "direct", "direct.fused"} <= set(metrics["evaluation"]["test"])
    assert (out / "report.html").exists()
    assert "untrained" not in capsys.readouterr().err.rpartition("distill serve")[2], "a student is what is served"
