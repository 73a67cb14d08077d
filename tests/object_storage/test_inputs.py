"""Input files on S3: read as local ones are, named by their URL, fetched again only where they have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import inputs
from distill.cli import main
from distill.store import read_manifest


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of its own, that has fetched nothing yet."""
    another(tmp_path / "machine", monkeypatch)


def another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as a new process of another machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    inputs._fetched.cache_clear()


def write_data(folder: Path) -> None:
    """A BEIR folder, a run to mine from, traces, decisions: twelve queries and passages."""
    (folder / "beir" / "qrels").mkdir(parents=True)
    for name, mark in (("corpus", "d"), ("queries", "q")):
        rows = (json.dumps({"_id": f"{mark}{n}", "text": f"{name} text number {n}"}) for n in range(12))
        (folder / "beir" / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    for split, numbers in (("train", range(8)), ("test", range(8, 12))):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in numbers)
        (folder / "beir" / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    run = "".join(f"q{q} Q0 d{(q + r) % 12} {r} {12 - r} x\n" for q in range(12) for r in range(6))
    (folder / "first.trec").write_text(run)
    traces = (
        json.dumps({"query_id": f"q{q}", "doc_id": f"d{d}", "reasoning": f"Passage {d} is so.", "content": "true"})
        for q in range(8) for d in range(12)
    )  # fmt: skip
    (folder / "traces.jsonl").write_text("\n".join(traces) + "\n")
    (folder / "decisions.csv").write_text("pair_id,decision\n")


def config(folder: Path, place: str, **more: Any) -> Path:
    """A configuration whose inputs lie at `place`."""
    folder.mkdir(exist_ok=True)
    values = {
        "name": "x",
        "pairs": {"source": "beir", "path": f"{place}/beir",
                  "negatives": {"miner": "run", "path": f"{place}/first.trec", "per_query": 2, "last": 6}},
        "teacher": {"source": "import", "import": {"path": f"{place}/traces.jsonl"}},
        "filters": ["parses", {"label_dispute": {"policy": "review", "decisions": f"{place}/decisions.csv"}}],
        "evaluation": {"sets": [{"name": "test", "path": f"{place}/beir", "first_stage": f"{place}/first.trec"}]},
        **more,
    }  # fmt: skip
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def make(path: Path, out: Path, *stages: str) -> None:
    """Bring the stages up to date."""
    for stage in stages or ("pairs", "trace", "filter"):
        assert main([stage, str(path), "--out", str(out)]) == 0


def test_every_input_is_read_from_s3_as_from_a_folder(
    bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    s3.put(f"{tmp_path}/data/", f"{bucket}/in/", recursive=True)
    make(config(tmp_path / "a", str(tmp_path / "data")), tmp_path / "local")
    path = config(tmp_path / "b", f"{bucket}/in")
    make(path, tmp_path / "remote")
    for stage in ("pairs", "traces", "kept"):
        local, remote = (read_manifest(tmp_path / run / stage) for run in ("local", "remote"))
        assert local is not None and remote is not None
        assert local["result"]["data_hash"] == remote["result"]["data_hash"] and local["result"]["rows"] > 0
    manifest = (tmp_path / "remote" / "pairs" / "manifest.json").read_text()
    assert f"{bucket}/in/beir/corpus.jsonl" in manifest and str(tmp_path / "machine") not in manifest

    another(tmp_path / "second", monkeypatch)
    capsys.readouterr()
    make(path, tmp_path / "remote")
    assert capsys.readouterr().err.splitlines() == ["pairs: unchanged", "trace: unchanged", "filter: unchanged"]

    s3.pipe_file(
        f"{bucket}/in/first.trec", (tmp_path / "data/first.trec").read_bytes().replace(b"q0 Q0 d5", b"q0 Q0 d7")
    )
    inputs._fetched.cache_clear()
    make(path, tmp_path / "remote", "pairs")
    assert f"this has changed: input {bucket}/in/first.trec" in capsys.readouterr().err


def test_the_dry_run_reads_sets_and_runs(
    bucket: str, s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    s3.put(f"{tmp_path}/data/", f"{bucket}/in/", recursive=True)
    s3.pipe_file(f"{bucket}/in/first.trec", b"q8 Q0 d8 1 no-number x\n")
    negatives = {"negatives": "none", "source": "beir", "path": f"{bucket}/in/beir"}
    assert main(["pairs", str(config(tmp_path / "a", f"{bucket}/in", pairs=negatives)), "--dry-run"]) == 0
    assert f"distill: warning: {bucket}/in/first.trec:1: " in capsys.readouterr().err


@pytest.mark.parametrize("source", ["trec", "table"])
def test_single_files_are_read(source: str, bucket: str, s3: Any, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    s3.put(f"{tmp_path}/data/", f"{bucket}/in/", recursive=True)
    files = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels/train.tsv"}
    hashes = []
    for place in (f"{bucket}/in", str(tmp_path / "data")):
        pairs = {"source": source, "files": {name: f"{place}/beir/{file}" for name, file in files.items()}}
        name = str(len(hashes))
        make(config(tmp_path / name, place, pairs=pairs), tmp_path / f"run-{name}", "pairs")
        manifest = read_manifest(tmp_path / f"run-{name}" / "pairs")
        assert manifest is not None
        hashes.append(manifest["result"]["data_hash"])
    assert hashes[0] == hashes[1]


def test_a_fault_names_the_url_and_the_line(
    bucket: str, s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data")
    with open(tmp_path / "data/beir/corpus.jsonl", "a") as out:
        out.write("{\n")
    s3.put(f"{tmp_path}/data/", f"{bucket}/in/", recursive=True)
    assert main(["pairs", str(config(tmp_path / "a", f"{bucket}/in")), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"distill: {bucket}/in/beir/corpus.jsonl:13: not JSON")


def test_only_what_has_changed_is_fetched_and_what_is_gone_goes(bucket: str, s3: Any, tmp_path: Path) -> None:
    for name in "abc":
        s3.pipe_file(f"{bucket}/in/{name}.txt", name.encode())
    folder = inputs.input_path(tmp_path, f"{bucket}/in")
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    s3.pipe_file(f"{bucket}/in/a.txt", b"A")
    s3.rm_file(f"{bucket}/in/c.txt")
    inputs._fetched.cache_clear()
    assert inputs.input_path(tmp_path, f"{bucket}/in") == folder
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert (folder / "a.txt").read_text() == "A" and set(after) == {"a.txt", "b.txt"}
    assert after["b.txt"] == before["b.txt"]
