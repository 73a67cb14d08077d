"""A run folder made by commit 221dad9, before the redesign, goes on: what was paid for or trained is used again.

The archive holds that run and its configuration, without figures, report and the trainers' logs. It was made by
`distill run old.yaml` at that commit, with 8 training queries and students of one layer.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.report.build import build
from distill.report.viewer import write
from distill.stages import STAGES

REUSED = ("traces", "students")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).with_name("221dad9.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def contents(run: Path) -> dict[str, str]:
    """{file: its hash} of the journal, the traces and the students."""
    files = [path for folder in REUSED for path in sorted((run / folder).rglob("*")) if path.is_file()]
    kept = [path for path in files if path.suffix in (".jsonl", ".parquet", ".safetensors")]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def distill(run: Path, *overrides: str) -> int:
    return main(["run", str(run.parent / "old.yaml"), "--out", str(run), *overrides])


def test_journal_traces_and_students_are_reused_and_each_stage_says_why_it_is_made_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert {Path(name).suffix for name in before} == {".jsonl", ".parquet", ".safetensors"}
    assert distill(run) == 0
    said = capsys.readouterr().err
    assert contents(run) == before
    for stage in STAGES:
        unchanged = f"{stage.name}: unchanged" in said
        again = f"{stage.name}: made again, since this has changed" in said
        assert unchanged != again, f"{stage.name}: {said}"
    assert "trace: unchanged" in said
    assert (run / "report.html").exists()


def test_pairs_that_are_made_again_alike_let_everything_after_them_be(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a later version knows a setting more: its manifest lacks it."""
    before = contents(run)
    manifest = store.read_manifest(run / "pairs")
    assert manifest is not None
    del manifest["settings"]["passage_words"]
    store.write_json(run / "pairs" / store.MANIFEST, {**manifest, "fingerprint": "of other settings"})
    assert distill(run) == 0
    said = capsys.readouterr().err
    assert "pairs: made again, since this has changed: " in said and "setting passage_words" in said
    assert all(f"{name}: unchanged" in said for name in ("trace", "filter", "sft"))
    assert contents(run) == before


def test_a_student_of_another_seed_is_trained_again_and_the_others_are_not(run: Path) -> None:
    """The manifest of a student without `sft.seed` does not name the run's seed; its job does."""
    job = run / "students" / "think" / "job.json"
    store.write_json(job, {**json.loads(job.read_text()), "seed": 4})
    (run / "students" / store.MANIFEST).unlink()
    before = {name: (run / "students" / name / "result.json").stat().st_mtime_ns for name in ("direct", "think")}
    assert distill(run) == 0
    after = {name: (run / "students" / name / "result.json").stat().st_mtime_ns for name in before}
    assert after["direct"] == before["direct"] and after["think"] != before["think"]
    assert json.loads(job.read_text())["seed"] == 3


def test_its_report_opens_though_nothing_of_it_is_made_again(run: Path) -> None:
    page = build(run).read_text(encoding="utf-8")
    for section in ("systems", "queries", "training", "funnel", "verdicts", "samples", "cost", "appendix"):
        assert f'<section id="{section}">' in page, section
    assert '<figcaption>nDCG@10</figcaption><svg class="drawn"' in page and "Ship" in page
    assert write(run).stat().st_size > 10_000  # the traces in one page
