"""docs/architecture.md, done: one of each kind from outside, as the page has it, through the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.errors import DistillError
from distill.evaluation.suites import SUITES
from distill.pairs.sources import SOURCES
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.stages import STAGES, in_table
from distill.records import Example, Pair, Rejected, Trace
from distill.rerank.backends import BACKENDS
from filters.settings import FILTERS
from sft.targets import TARGETS
from teacher.sources import SOURCES as TEACHER_SOURCES
from tests.architecture_page import BLOCKS, PAGE, STAGE, TEXT, named, reranked

KINDS = {
    "short.py": FILTERS, "faq.py": SOURCES, "mine.py": TEACHER_SOURCES, "brief.py": TARGETS, "titled.py": SUITES,
    "engine.py": BACKENDS,
}  # fmt: skip


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


def test_the_backend_is_used(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    assert reranked(finished, "--backend", named("engine.py"), "--mode", "direct", "--out", "out.trec") == 0
    assert "backend Overlap" in capsys.readouterr().err
    first = [line.split()[2] for line in (finished / "out.trec").read_text().splitlines() if line.split()[3] == "1"]
    assert first[:3] == ["d0", "d1", "d2"], "the passage that has the query's number"
    assert (
        reranked(finished, "--backend", named("engine.py"), "--mode", "think", "--out", "think.trec") == 2
    )  # it cannot write
    assert "engine.py:Overlap: `step` returned finish 'read' for a task with max_new" in capsys.readouterr().err


def test_a_stage_is_added_as_the_page_says(finished: Path, tmp_path: Path) -> None:
    project = PAGE.parents[1]
    shutil.copytree(project / "distill", tmp_path / "distill", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "distill" / "pipeline" / "words.py").write_text(STAGE)
    edit(tmp_path / "distill" / "pipeline" / "stages.py", "sft, trace", "sft, trace, words")
    edit(tmp_path / "distill" / "pipeline" / "stages.py", "evaluate.STAGE)", "evaluate.STAGE, words.STAGE)")
    edit(tmp_path / "distill" / "stages.py", "STAGES = (", "STAGES = (StageName('words', 'words', 'Words', 'Count.'),")
    edit(
        tmp_path / "distill" / "cli" / "__init__.py",
        'plain_stages("dataset", "sft")',
        'plain_stages("dataset", "sft", "words")',
    )
    shutil.copytree(finished, tmp_path / "own")
    command = [sys.executable, "-m", "distill.cli", "words", "own/run.yaml", "--out", "own/run"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{project}"}
    done = [subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment) for _ in range(2)]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    kept = sum(1 for _ in store.read_rows(finished / "run" / "kept", Trace))
    metrics = json.loads((tmp_path / "own" / "run" / "metrics.json").read_text())
    assert metrics["stages"]["words"]["words"] == 8 * kept > 0
    assert "words: unchanged" in done[1].stderr


def test_a_stage_that_is_in_one_table_alone_or_reads_an_unknown_folder_is_one_line(finished: Path) -> None:
    (first, *others), run = STAGES, Run(RunConfig.model_construct(name="own"), finished / "run", finished / "run.yaml")
    for stages in (others, (*STAGES, replace(first, name="words")), (replace(first, folder="pair"), *others)):
        with pytest.raises(DistillError, match=r"differ in the stages \(name, folder\) \('pairs', 'pair|'words'"):
            in_table(*stages)
    with pytest.raises(DistillError, match=r"data_hash\('keep'\): no stage has this folder; known: .*kept"):
        run.data_hash("keep")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))
