"""The whole line through the real command: done once, changed in part, killed anywhere, fed with rubbish."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import distill
from distill import store
from distill.cli import main
from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.records import Example, Pair, Rejected, Trace

ROOT = Path(__file__).resolve().parents[1]
TINY = str(ROOT / "configs" / "tiny.yaml")
FOLDERS = {"pairs": Pair, "traces": Trace, "kept": Trace, "rejected": Rejected, "dataset/think": Example}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One undisturbed run of configs/tiny.yaml."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["run", TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def rows(folder: Path) -> dict[str, list[Any]]:
    """Every stage's rows, without what a clock or a price decides."""
    found: dict[str, list[Any]] = {}
    for name, kind in FOLDERS.items():
        plain = []
        for row in store.read_rows(folder / name, kind):
            values = store._flat(row, store.schema_of(kind).names)
            timed = ("latency_s", "teacher")
            plain.append(tuple(v for v, n in zip(values, store.schema_of(kind).names, strict=True) if n not in timed))
        found[name] = plain
    return found


def stamps(folder: Path) -> dict[str, int]:
    skipped = (".lease", "log.jsonl")
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in skipped]
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in files}


def test_python_reads_a_finished_run_and_does_nothing_again(finished: Path) -> None:
    before = stamps(finished)
    run = distill.run(TINY, out=finished, quiet=True)
    assert stamps(finished) == before
    assert set(run.students) == {"direct", "think"} and (run.students["think"].folder / "config.json").exists()
    trained = run.metrics.counts("sft").students
    assert all(0.1 < (student.peak_gib or 0) < 4 for student in trained.values()), "without a GPU its process' memory"
    examples = run.students["think"].examples
    assert [row.completion for row in examples] == list(examples.to_pandas()["completion"]) and len(examples) > 100
    assert (
        run.metrics.evaluation["test"]["think"]["nDCG@10"]
        == metrics(finished)["evaluation"]["test"]["think"]["nDCG@10"]
    )


def test_every_part_is_there_and_the_counts_add_up(finished: Path) -> None:
    found = metrics(finished)
    assert set(found["evaluation"]["test"]) == {"first_stage", "untrained", "direct", "think"}
    assert all("nDCG@10" in system for system in found["evaluation"]["test"].values())
    stages = found["stages"]
    counts = stages["filter"]
    due = stages["trace"]["samples_due"]
    assert due == counts["kept"] + counts["rejected"] + counts["failed"] + counts["not_asked"] > 100
    assert counts["rejected"] == sum(each["rejected"] for each in counts["by_filter"].values()) > 0
    assert stages["dataset"]["examples"] == {"direct": counts["kept"], "think": counts["kept"]}
    pairs = {pair.pair_id for pair in store.read_rows(finished / "pairs", Pair)}
    kept = {t.pair_id for t in store.read_rows(finished / "kept", Trace)}
    rejected = {r.trace.pair_id for r in store.read_rows(finished / "rejected", Rejected)}
    assert kept | rejected == pairs and not kept & rejected
    for name in ("config.yaml", "report.html", "evaluation/test.think.trec", "students/think/model.safetensors"):
        assert (finished / name).exists(), name


def test_a_second_run_does_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(run)
    assert main(["run", TINY, "--out", str(run)]) == 0
    assert stamps(run) == before
    assert capsys.readouterr().err.count("unchanged") == 6


def test_a_changed_filter_asks_nothing_and_runs_what_follows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics(run)
    assert main(["filter", TINY, "--out", str(run), "filters=[finished, parses]"]) == 0
    after = metrics(run)
    assert after["stages"]["trace"] == before["stages"]["trace"]
    assert after["stages"]["filter"]["kept"] > before["stages"]["filter"]["kept"]
    capsys.readouterr()
    main(["run", TINY, "--out", str(run), "--dry-run", "--json", "filters=[finished, parses]"])
    due = json.loads(capsys.readouterr().out)["due"]
    assert not due["filter"] and due["dataset"] and not due["trace"]


def test_a_stage_alone_needs_the_one_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", TINY, "--out", str(tmp_path / "new")]) == 2
    assert "not made yet, and filter reads it" in capsys.readouterr().err


# --- wrong input: one line, exit 2, nothing of an earlier run damaged -------------------------------------------------


def beir(folder: Path) -> Path:
    """A small folder of the user's own."""
    (folder / "qrels").mkdir(parents=True)
    words = ["fox", "dog", "cat", "owl", "bee", "ant"]
    docs = [{"_id": f"d{i}", "title": w, "text": f"The {w} lives in the wood."} for i, w in enumerate(words)]
    queries = [{"_id": f"q{i}", "text": f"where does the {w} live"} for i, w in enumerate(words)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    qrels = "".join(f"q{i}\td{i}\t1\n" for i in range(len(words)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def own_config(folder: Path, **teacher: Any) -> Path:
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "model": "m", **teacher}
    config = {
        "name": "own",
        "pairs": {"source": "beir", "path": "data", "split": "test", "negatives": {"miner": "bm25", "per_query": 1}},
        "teacher": {"source": "endpoints", "endpoints": [endpoint]},
        "evaluation": {"sets": []},
    }
    path = folder / "own.yaml"
    path.write_text(json.dumps(config))
    return path


def spoil_corpus(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()


def spoil_columns(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\n")


def spoil_label(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\thigh\n")


def spoil_query(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq99\td0\t1\n")


def spoil_encoding(folder: Path) -> None:
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q0", "text": "caf\xe9"}\n')


def spoil_empty(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (spoil_corpus, ["corpus.jsonl"]),
        (spoil_columns, ["test.tsv", "2", "column"]),
        (spoil_label, ["test.tsv", "2", "high", "integer"]),
        (spoil_query, ["q99"]),
        (spoil_encoding, ["queries.jsonl", "UTF-8"]),
        (spoil_empty, ["corpus.jsonl", "empty"]),
    ],
)
def test_broken_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, parts: list[str]) -> None:
    spoil(beir(tmp_path / "data"))
    assert main(["run", str(own_config(tmp_path)), "--out", str(tmp_path / "run")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert len(lines) == 1
    assert all(part in lines[0] for part in parts), lines[0]


def test_a_run_folder_of_somebody_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "one.jpg").write_text("x")
    assert main(["run", TINY, "--out", str(other)]) == 2
    assert "is not empty and not a run of ours" in capsys.readouterr().err
    assert [p.name for p in other.iterdir()] == ["one.jpg"]


def test_a_run_of_another_name_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(run)
    assert main(["run", TINY, "--out", str(run), "name=other"]) == 2
    assert "holds the run 'tiny', this configuration is 'other'" in capsys.readouterr().err
    assert stamps(run) == before


def test_an_unset_key_variable_is_seen_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    beir(tmp_path / "data")
    config = own_config(tmp_path, api_key_env="NO_SUCH_KEY")
    assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 2
    assert "teacher.endpoints.0.api_key_env names NO_SUCH_KEY, which is not set" in capsys.readouterr().err
    assert not (tmp_path / "run" / "pairs").exists()


def test_a_refused_connection_is_seen_before_the_first_pair_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beir(tmp_path / "data")
    assert main(["run", str(own_config(tmp_path)), "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("distill: ") and "127.0.0.1:9" in last


@pytest.mark.parametrize(
    ("model", "key", "parts"),
    [("example-teacher", "wrong-key", ["401", "OWN_KEY"]), ("another-model", "right-key", ["404", "another-model"])],
)
def test_a_wrong_key_and_an_unknown_model_are_seen_before_the_first_pair_is_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    key: str,
    parts: list[str],
) -> None:
    monkeypatch.setenv("OWN_KEY", key)
    beir(tmp_path / "data")
    with running(TeacherSettings(api_key="right-key")) as url:
        config = own_config(tmp_path, base_url=url, model=model, api_key_env="OWN_KEY")
        assert main(["run", str(config), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    last = error.splitlines()[-1]
    assert last.startswith("distill: ") and all(part in last for part in parts), last
    assert key not in error
    journalled = list((tmp_path / "run" / "traces" / "journal").glob("*"))
    assert sum(part.stat().st_size for part in journalled) == 0


def test_a_dry_run_tells_what_asking_would_take_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beir(tmp_path / "data")
    config = own_config(tmp_path, price={"input": 1.0, "output": 2.0})
    assert main(["trace", str(config), "--out", str(tmp_path / "run"), "--dry-run", "--json"]) == 0
    said = "\n".join(json.loads(capsys.readouterr().out)["teacher"])
    assert "pairs 12; samples 12, 0 of them in the journal, 12 to ask" in said
    assert "passages would be sent to 127.0.0.1:9" in said and "USD" in said
    assert main(["trace", str(config), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("trace"))
    assert "12 answers" in row and "0.01" in row and row.rstrip().endswith("127.0.0.1:9")
    assert not (tmp_path / "run").exists()


def test_a_filter_stage_explains_a_pair(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(store.read_rows(finished / "rejected", Rejected))
    assert main(["filter", TINY, "--out", str(finished), "--explain", row.trace.pair_id]) == 0
    assert f"{row.filter}: {row.reason}" in capsys.readouterr().out


def test_a_run_over_the_users_own_folder_and_endpoint_by_url(tmp_path: Path) -> None:
    beir(tmp_path / "data")
    with running(TeacherSettings()) as url:
        config = json.loads(own_config(tmp_path, base_url=url, model="example-teacher").read_text())
        config["evaluation"] = {
            "sets": [{"name": "test", "source": "beir", "path": "data", "split": "test", "depth": 3}],
            "max_new_tokens": 8,
        }
        config["filters"] = ["finished", "parses"]  # this teacher's verdicts on such text are worthless
        config["sft"] = {
            "scratch": {"vocab_size": 400, "layers": 1, "width": 64, "heads": 2, "kv_heads": 2, "ffn": 64},
            "targets": ["direct"],
            "training": {"max_steps": 2, "per_device_train_batch_size": 4},
        }
        path = tmp_path / "own.yaml"
        path.write_text(json.dumps(config))
        assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 0
    found = metrics(tmp_path / "run")
    assert set(found["evaluation"]["test"]) == {"first_stage", "untrained", "direct"}
    assert "host" in json.dumps(found["stages"]["trace"]) and (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("example", ["{wrnog: 0.1}", "{wrong: often}", "{wrong: 2}"])
def test_a_wrong_setting_of_the_embedded_teacher_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], example: str
) -> None:
    assert main(["run", TINY, "--out", str(tmp_path / "run"), f"teacher.example={example}"]) == 2
    assert "wrong" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- killed anywhere --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pairs", "trace", "filter", "dataset", "sft", "evaluate"])
def test_a_run_killed_in_any_stage_ends_like_one_that_was_not(finished: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "tiny"
    command = [sys.executable, "-m", "distill.cli", "run", TINY, "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    wanted = f'"stage": "{stage}", "event": "start"'
    deadline = time.monotonic() + 180
    log = folder / "log.jsonl"
    while time.monotonic() < deadline and not (log.exists() and wanted in log.read_text()):
        time.sleep(0.005)
    time.sleep({"trace": 6.0, "sft": 12.0, "evaluate": 4.0}.get(stage, 0.02))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert rows(folder) == rows(finished)
    mine, theirs = metrics(folder), metrics(finished)
    timed = ("tokens_per_pair", "verdict_accuracy", "nDCG@10")
    for system, measures in theirs["evaluation"]["test"].items():
        for name in timed:
            assert mine["evaluation"]["test"][system].get(name) == pytest.approx(measures.get(name), abs=1e-6)
