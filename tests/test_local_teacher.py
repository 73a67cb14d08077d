"""The whole pipeline of `configs/local-teacher.yaml` with a real model behind llama.cpp's server, over real HTTP."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from distill.cli import main
from distill.records import Trace
from distill.store import read_rows
from tests.llama_server import llama_server

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs" / "local-teacher.yaml")
QUERIES = 14  # of which 10 are asked about, each with a relevant and another passage


def dl19(shared: Path, folder: Path) -> None:
    """Some judged pairs of DL19 with short passages, in BEIR's layout."""
    source = shared / "dl19-passage"
    texts = {row["_id"]: row for row in map(json.loads, (source / "corpus.jsonl").open(encoding="utf-8"))}
    queries = {row["_id"]: row for row in map(json.loads, (source / "queries.jsonl").open(encoding="utf-8"))}
    judged: dict[str, dict[bool, tuple[str, str]]] = defaultdict(dict)
    for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, doc, grade = line.split("\t")
        if grade != "1" and len(texts[doc]["text"].split()) < 50:
            judged[query].setdefault(int(grade) >= 2, (doc, grade))
    chosen = [query for query in sorted(judged) if len(judged[query]) == 2][:QUERIES]
    assert len(chosen) == QUERIES
    (folder / "qrels").mkdir(parents=True)
    rows = [(query, *judged[query][side]) for query in chosen for side in (True, False)]
    lines = "".join(f"{query}\t{doc}\t{grade}\n" for query, doc, grade in rows)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    (folder / "queries.jsonl").write_text("".join(json.dumps(queries[query]) + "\n" for query in chosen))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(texts[doc]) + "\n" for _, doc, _ in rows))


@pytest.mark.slow
def test_twenty_pairs_with_a_teacher_on_this_machine(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [ROOT / "models" / f"{name}.gguf" for name in ("qwen-0.5b", "smollm2-135m")]
    model = next((file for file in found if file.is_file()), None)
    if model is None:
        pytest.skip(f"needs the real base at {found[-1]} (make real-base)")
    data, out = tmp_path / "dl19", tmp_path / "run"
    dl19(shared, data)
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
