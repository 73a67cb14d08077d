"""docs/architecture.md, done: one of each kind from outside, as the page has it, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.evaluation.suites import SUITES
from distill.pairs.sources import SOURCES
from distill.records import Example, Pair, Rejected, Trace
from distill.rerank.backends import BACKENDS
from filters.settings import FILTERS
from sft.targets import TARGETS
from teacher.sources import SOURCES as TEACHER_SOURCES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
BLOCKS = dict(re.findall(r"^# (\w+\.py)\n(.*?)(?=^# \w+\.py$|\Z)", CODE, re.DOTALL | re.MULTILINE))
STAGE = BLOCKS.pop("words.py")
NAMES = {file: re.search(rf'"?({file}:\w+)', TEXT) for file in BLOCKS}
KINDS = {
    "short.py": FILTERS, "faq.py": SOURCES, "mine.py": TEACHER_SOURCES, "brief.py": TARGETS, "titled.py": SUITES,
    "engine.py": BACKENDS,
}  # fmt: skip


def named(file: str) -> str:
    """The name by which the page has it in a configuration."""
    match = NAMES[file]
    assert match, file
    return match[1]


@pytest.fixture(scope="module")
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


def test_the_page_has_one_of_each_kind() -> None:
    assert set(BLOCKS) == set(KINDS)


@pytest.mark.parametrize("file", list(KINDS))
def test_each_is_found_by_the_name_that_the_page_gives(finished: Path, file: str) -> None:
    kind = KINDS[file]
    assert kind.load(named(file), finished).__name__ == named(file).rpartition(":")[2]
    folder = re.search(rf"\| [^|]*`([\w/]+)/base.py` \| [^|]*{re.escape(file)}", TEXT)
    assert folder and kind.package == folder[1].replace("/", "."), "the folder of the built-in ones"


def test_source_teacher_filter_target_and_set_are_used(finished: Path) -> None:
    run = finished / "run"
    pairs = list(store.read_rows(run / "pairs", Pair))
    assert any(pair.passage == "The mayor of Brook is Ms koorB." and pair.label == 1 for pair in pairs)
    traces = list(store.read_rows(run / "traces", Trace))
    assert traces and {t.reasoning for t in traces} == {"The passage names what the query asks for."}
    counts = json.loads((run / "metrics.json").read_text())["stages"]["filter"]
    assert counts["by_filter"]["UnderWords"]["rejected"] == 0 < counts["kept"]
    assert {e.completion for e in store.read_rows(run / "dataset" / "brief", Example)} == {
        "\nThe passage names what the query asks for.\n</think> true"
    }
    assert (run / "students" / "brief").is_dir() and list((run / "evaluation").glob("mine*"))


def test_a_threshold_of_the_filter_rejects(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["filter", str(finished / "run.yaml"), "--out", str(finished / "run")]
    short = f"filters=[{{'{named('short.py')}': {{most: 3}}}}]"
    assert main([*command, short]) == 0
    assert {r.reason for r in store.read_rows(finished / "run" / "rejected", Rejected)} == {"3 words or more"}
    assert main([*command, f"filters=[{{'{named('short.py')}': {{least: 3}}}}]"]) == 2
    assert "least is not a known key; did you mean" not in (printed := capsys.readouterr().err) and "least" in printed
    assert main(command) == 0  # as it was


def reranked(folder: Path, *more: str) -> int:
    (folder / "first.trec").write_text(
        "".join(f"q{n} Q0 d{d} {d + 1} {4 - d} bm25\n" for n in range(4) for d in range(3))
    )
    command = ["rerank", "--model", "run/students/brief", "--queries", "set/queries.jsonl", "--run", "first.trec"]
    return main([*command, "--corpus", "set/corpus.jsonl", "--out", "out.trec", *more])


def test_the_backend_is_used(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    assert reranked(finished, "--backend", named("engine.py"), "--mode", "direct") == 0
    assert "backend Overlap" in capsys.readouterr().err
    first = [line.split()[2] for line in (finished / "out.trec").read_text().splitlines() if line.split()[3] == "1"]
    assert first[:3] == ["d0", "d1", "d2"], "the passage that has the query's number"
    assert reranked(finished, "--backend", named("engine.py"), "--mode", "think") == 2  # it cannot write
    assert "engine.py:Overlap: `step` returned finish 'read' for a task with max_new" in capsys.readouterr().err


def test_a_stage_is_added_as_the_page_says(finished: Path, tmp_path: Path) -> None:
    project = PAGE.parents[1]
    shutil.copytree(project / "distill", tmp_path / "distill", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "distill" / "pipeline" / "words.py").write_text(STAGE)
    edit(tmp_path / "distill" / "pipeline" / "stages.py", "sft, trace", "sft, trace, words")
    edit(tmp_path / "distill" / "pipeline" / "stages.py", "evaluate.STAGE)", "evaluate.STAGE, words.STAGE)")
    edit(tmp_path / "distill" / "stages.py", "STAGES = (", "STAGES = (StageName('words', 'words', 'Words', 'Count.'),")
    edit(tmp_path / "distill" / "cli.py", 'plain_stages("dataset", "sft")', 'plain_stages("dataset", "sft", "words")')
    shutil.copytree(finished, tmp_path / "own")
    command = [sys.executable, "-m", "distill.cli", "words", "own/run.yaml", "--out", "own/run"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{project}"}
    done = [subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment) for _ in range(2)]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    kept = sum(1 for _ in store.read_rows(finished / "run" / "kept", Trace))
    metrics = json.loads((tmp_path / "own" / "run" / "metrics.json").read_text())
    assert metrics["stages"]["words"]["words"] == 8 * kept > 0
    assert "words: unchanged" in done[1].stderr


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))
