"""The delimited prompt through the whole line: teacher, training, scoring and published rows read one and the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill import store
from distill.prompts import FIELDS, PASSAGE, parts_of, student_prompt
from distill.publish.rows import Kept
from distill.records import Example, Judgement, Pair, Trace
from distill.rerank.reranker import Reranker

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_run_with_the_delimited_prompt_uses_it_everywhere(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "distill.cli", "run", str(ROOT / "configs" / "tiny.yaml"), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "prompt=delimited"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = {pair.pair_id: pair for pair in store.read_rows(out / "pairs", Pair)}
    wanted = {key: student_prompt(p.query, p.passage, p.instruction, "delimited") for key, p in pairs.items()}
    traces = list(store.read_rows(out / "traces", Trace))
    assert {json.loads(trace.teacher)["prompt"] for trace in traces if not trace.error} == {"delimited"}
    right = [trace for trace in traces if trace.verdict is not None and trace.verdict == pairs[trace.pair_id].relevant]
    assert len(right) > 0.8 * len(traces), "the example's teacher reads the fields"
    examples = list(store.read_rows(out / "dataset" / "think", Example))
    assert examples and all(example.prompt == wanted[example.pair_id] for example in examples)
    kept = list(Kept(out).rows())
    assert kept and all(row.prompt == wanted[row.pair_id] for row in kept)
    assert all(part in FIELDS or not part.startswith("<|") for row in kept for part in parts_of(row.prompt))
    for student in ("think", "direct", "untrained"):
        reranker = Reranker(str(out / "students" / student), "direct")
        assert reranker.backend.form.prompt == "delimited"
        assert PASSAGE in reranker.backend.form.tokenizer.get_added_vocab()
    judged = list(store.read_rows(out / "evaluation" / "test.direct", Judgement))
    assert judged and len({judgement.margin for judgement in judged}) > 1
    again = subprocess.run(
        [*command, "prompt=delimited"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "sft: unchanged" in again.stderr
