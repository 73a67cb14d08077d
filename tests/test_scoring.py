"""The evaluation's scoring through the real command: nothing is judged twice, systems may be left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.cli import main
from distill.pipeline import evaluate as stage
from distill.records import Judgement

ROOT = Path(__file__).resolve().parents[1]
TINY = str(ROOT / "configs" / "tiny.yaml")
CLOCK = "pairs_per_s"


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


def evaluate(folder: Path, *more: str) -> int:
    return main(["evaluate", TINY, "--out", str(folder), *more])


def measures(folder: Path) -> dict[str, dict[str, Any]]:
    systems = json.loads((folder / "metrics.json").read_text())["evaluation"]["test"]
    return {name: {k: v for k, v in values.items() if k != CLOCK} for name, values in systems.items()}


def judgements(folder: Path, system: str) -> list[Judgement]:
    return list(store.read_rows(folder / "evaluation" / f"test.{system}", Judgement))


def test_an_evaluation_stopped_half_way_judges_what_is_left(
    run: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = run / "evaluation" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:50]) + lines[50][:40])
    (run / "evaluation" / "manifest.json").unlink()
    assert evaluate(run) == 0
    again = [row for line in journal.read_text().splitlines() if (row := _parsed(line))]
    keys = [(row["student"], row["pair_id"]) for row in again]
    assert len(keys) == len(set(keys)) == len(lines), "each of its pairs once"
    assert measures(run) == measures(finished)
    assert "judged already" in capsys.readouterr().err
    for system in ("untrained", "direct", "think"):
        for now, before in zip(judgements(run, system), judgements(finished, system), strict=True):
            assert now.margin == pytest.approx(before.margin, abs=1e-4) and now.reasoning == before.reasoning


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line))
    except ValueError:
        return None


def test_another_measure_judges_no_pair_again(run: Path, finished: Path) -> None:
    before = (run / "evaluation" / "journal.jsonl").read_bytes()
    assert evaluate(run, "evaluation.measures=[nDCG@10, P@5]") == 0
    assert (run / "evaluation" / "journal.jsonl").read_bytes() == before
    now, then = measures(run), measures(finished)
    assert {name: row["nDCG@10"] for name, row in now.items()} == {name: row["nDCG@10"] for name, row in then.items()}
    speed = [
        json.loads((f / "metrics.json").read_text())["evaluation"]["test"]["think"][CLOCK] for f in (run, finished)
    ]
    assert speed[0] == pytest.approx(speed[1], rel=0.01), "the pace is that of the judging, not of the reading"


def files(folder: Path) -> dict[str, bytes]:
    """What an evaluation has written, without what changes with the clock."""
    clocked = {"manifest.json", "test.modes.json", "test.md", "test.tex"}
    paths = [path for path in (folder / "evaluation").rglob("*") if path.is_file() and path.name not in clocked]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_blocks_of_queries_change_nothing(run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BLOCK", 3)
    (run / "evaluation" / "manifest.json").unlink()
    (run / "evaluation" / "test.direct.unfinished").mkdir()  # of a killed one
    (run / "evaluation" / "test.direct.unfinished" / "part-00000.parquet").write_text("torn")
    assert evaluate(run) == 0
    assert files(run) == files(finished) and measures(run) == measures(finished)


def test_systems_are_left_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", TINY, "--out", str(run), "evaluation.systems=[think]"]) == 0
    said = capsys.readouterr().err
    assert set(measures(run)) == {"first_stage", "think"} and "test, think: [" in said and "test, direct" not in said
    assert not (run / "evaluation" / "test.direct.trec").exists(), "what is left out leaves nothing stale"
    assert (run / "report.html").stat().st_size > 10_000
    assert main(["run", TINY, "--out", str(run), "evaluation.systems=[untrained]"]) == 0
    assert set(measures(run)) == {"first_stage", "untrained"}


def test_sets_that_are_not_evaluated_any_more_leave_nothing_that_a_comparison_would_read(run: Path) -> None:
    sets = "evaluation.sets=[{name: other, source: example, split: test, first_stage: bm25, depth: 5}]"
    assert main(["run", TINY, "--out", str(run), sets]) == 0
    left = {path.name.partition(".")[0] for path in (run / "evaluation").iterdir()} - {""}
    assert left == {"journal", "manifest", "other"}
    assert list(json.loads((run / "metrics.json").read_text())["evaluation"]) == ["other"]


def test_a_system_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", TINY, "--out", str(tmp_path / "run"), "evaluation.systems=[thinking]"]) == 2
    assert "evaluation.systems: 'thinking' is none of untrained, direct, think" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("scoring.backend=openai", "backend openai needs base_url"),
        ("scoring={backend: transformers, gpus_per_actor: 2}", "needs backend vllm"),
        ("scoring.dtype=int8", "scoring.dtype"),
        ("scoring.actors=0", "scoring.actors"),
    ],
)
def test_settings_of_scoring_that_cannot_be_are_refused(
    given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", TINY, "--out", str(tmp_path / "run"), given]) == 2
    assert message in capsys.readouterr().err


def test_rerank_takes_what_the_evaluation_has_judged(run: Path, tmp_path: Path) -> None:
    journal = run / "evaluation" / "journal.jsonl"
    before = journal.read_bytes()
    detail = json.loads((run / "evaluation" / "test.json").read_text())
    for name, kind in (("queries", "queries"), ("corpus", "passages")):
        given = detail["instructions"] if kind == "queries" else {}
        rows = [
            json.dumps({"_id": key, "text": text, "instruction": given.get(key)}) for key, text in detail[kind].items()
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    files = {"--queries": tmp_path / "queries.jsonl", "--corpus": tmp_path / "corpus.jsonl", "--journal": journal}
    files |= {"--run": run / "evaluation" / "test.first_stage.trec", "--out": tmp_path / "out.trec"}
    named = [word for option, path in files.items() for word in (option, str(path))]
    bound = ["--mode", "think", "--max-new-tokens", "24", "--calibration", "none"]
    assert main(["rerank", "--model", str(run / "students" / "think"), *named, *bound]) == 0
    assert journal.read_bytes() == before, "nothing was judged"
    assert len((tmp_path / "out.trec").read_text().splitlines()) == 40
