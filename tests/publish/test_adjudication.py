"""View, decide, filter: decisions made in the browser's viewer are what the next `distill filter` does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from made_run import make_pairs, make_trace, write_run

from distill import store
from distill.cli import main
from distill.records import Pair, Rejected, Trace

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "name": "my-run",
    "pairs": {"source": "beir", "path": "data"},
    "teacher": {"source": "endpoints", "endpoints": [{"base_url": "http://127.0.0.1:9/v1", "model": "m"}]},
    "filters": ["parses", "verdict_matches_label"],
    "evaluation": {"sets": []},
}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A run whose teacher has answered: five pairs, the fifth one's label contradicted."""
    pairs = [pair for pair in make_pairs() if pair.query_id == "q0"]
    traces = [make_trace(pair) for pair in pairs[:4]] + [make_trace(pairs[4], verdict=1, content="true")]
    run = write_run(tmp_path / "run", pairs, [])
    (tmp_path / "run.yaml").write_text(json.dumps(CONFIG))
    written = store.write_rows(run / "traces", traces, Trace)
    store.write_manifest(run / "traces", "trace", {}, {}, {"samples_due": 5, **written})
    return run


def decide(run: Path, *decisions: dict[str, Any]) -> None:
    """Through `distill view` and what its page sends."""
    command = [sys.executable, "-m", "distill.cli", "view", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        origin = re.match(r"http://[^/]+", address)
        assert origin is not None
        for decision in decisions:
            headers = {"Content-Type": "application/json", "Origin": origin.group()}
            body = json.dumps({"sample": 0, **decision}).encode()
            with urllib.request.urlopen(urllib.request.Request(address + "decide", body, headers)) as answer:
                assert answer.status == 200
    finally:
        server.terminate()
        server.wait(20)


def filtered(run: Path) -> tuple[set[str], dict[str, str]]:
    """(pairs kept, {pair rejected: reason}) after `distill filter`."""
    assert main(["filter", str(run.parent / "run.yaml"), "--out", str(run)]) == 0
    rejected = {r.trace.pair_id: r.reason for r in store.read_rows(run / "rejected", Rejected)}
    return {t.pair_id for t in store.read_rows(run / "kept", Trace)}, rejected


def test_what_was_decided_in_the_viewer_is_what_filter_does(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = list(store.read_rows(asked / "pairs", Pair))
    disputed = next(p.pair_id for p in pairs if p.doc_id == "d0-4")
    other = next(p.pair_id for p in pairs if p.doc_id == "d0-0")
    kept, rejected = filtered(asked)
    assert list(rejected) == [disputed] and len(kept) == 4
    decide(asked, {"pair_id": disputed, "action": "accept"}, {"pair_id": other, "action": "reject", "note": "dull"})
    kept, rejected = filtered(asked)
    assert rejected == {other: "rejected by a person: dull"} and disputed in kept
    counts = json.loads((asked / "metrics.json").read_text())["stages"]["filter"]
    assert counts["decided"] == {"accept": 1, "reject": 1} and counts["samples"] == 5
    filtered(asked)
    assert "filter: unchanged" in capsys.readouterr().err
    decide(asked, {"pair_id": other, "action": "clear"}, {"pair_id": disputed, "action": "relabel", "label": 1})
    kept, rejected = filtered(asked)
    assert len(kept) == 5 and not rejected
    (changed,) = store.read_rows(asked / "changed", Pair)
    assert (changed.pair_id, changed.label, changed.label_origin, changed.label_before) == (disputed, 1, "human", 0)


def published_labels(run: Path) -> dict[str, int]:
    """{doc_id: label} of the published dataset after `distill dataset`."""
    import pyarrow.parquet as pq

    assert main(["dataset", str(run.parent / "run.yaml"), "--out", str(run)]) == 0
    files = sorted((run / "dataset" / "kept-traces").rglob("*.parquet"))
    return {row["doc_id"]: row["label"] for file in files for row in pq.read_table(file).to_pylist()}


def test_a_relabel_that_changes_no_kept_trace_reaches_the_published_dataset(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The grade of a relevant pair rises from 1 to 2: the same traces are kept, the published label is the new one."""
    (pair_id,) = (p.pair_id for p in store.read_rows(asked / "pairs", Pair) if p.doc_id == "d0-0")
    kept, _ = filtered(asked)
    before = published_labels(asked)
    assert before["d0-0"] == 1 and pair_id in kept
    decide(asked, {"pair_id": pair_id, "action": "relabel", "label": 2})
    assert filtered(asked)[0] == kept
    assert published_labels(asked) == {**before, "d0-0": 2}
    published_labels(asked)
    assert "dataset: unchanged" in capsys.readouterr().err


def test_a_damaged_file_of_decisions_is_named(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (asked / "adjudication.jsonl").write_text('{"pair_id": "p", "action": "keep"}\n')
    assert main(["filter", str(asked.parent / "run.yaml"), "--out", str(asked)]) == 2
    assert "adjudication.jsonl, line 1: action is 'keep'" in capsys.readouterr().err
