"""The Python API: the stages as functions, a run's rows, and an import that loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import distill
from distill import store
from distill.errors import ConfigError, DataError, RunFolderError
from distill.records import Example, Judgement, Pair, Trace
from distill.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "configs" / "tiny.yaml"
SMALL = {"pairs.example.queries": {"train": 3, "dev": 1, "test": 1}}
FUNCTIONS = ("make_pairs", "ask_teacher", "filter_traces", "make_dataset", "train", "evaluate")  # as STAGES


def test_the_import_is_light_and_the_names_are_there() -> None:
    code = (
        "import sys, distill\n"
        "heavy = {'torch', 'ray', 'transformers', 'openai', 'pydantic', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert not hasattr(distill, 'nothing') and callable(distill.run)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    stub = (ROOT / "distill" / "__init__.pyi").read_text()
    assert all(f"from distill.api import {name} as {name}\n" in stub for name in distill.__all__)
    assert len(FUNCTIONS) == len(STAGES) and {*FUNCTIONS, "run", "write_report"} <= set(distill.__all__)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> distill.Run:
    """Up to the filters, each by its function."""
    out = tmp_path_factory.mktemp("api") / "run"
    distill.make_pairs(TINY, SMALL, out=out, quiet=True)
    distill.ask_teacher(TINY, SMALL, out=str(out), quiet=True)
    return distill.filter_traces(str(TINY), SMALL, out=out, quiet=True)


def test_rows_are_those_of_the_files_in_each_form(
    run: distill.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    pairs = list(run.pairs)
    assert pairs == list(store.read_rows(run.folder / "pairs", Pair)) and len(run.pairs) == len(pairs) > 20
    assert {trace.pair_id for trace in run.traces} <= {pair.pair_id for pair in pairs}
    assert len(run.kept) + len(run.rejected) == len(run.traces) and all(row.reason for row in run.rejected)
    frame = run.kept.to_pandas()
    assert list(frame["reasoning"]) == [trace.reasoning for trace in run.kept]
    graded = run.pairs.to_pandas()[["label", "label_before"]]
    assert list(map(str, graded.dtypes)) == ["Int64", "Int64"] and graded["label_before"].isna().all()
    assert list(run.rejected.to_pandas().columns[-2:]) == ["filter", "reason"]
    rows = run.pairs.to_datasets()
    assert rows["pair_id"][:] == [pair.pair_id for pair in pairs] and rows.num_rows == len(pairs)
    assert run.metrics.counts("filter").kept == len(run.kept)
    assert repr(run.kept) == f"<{len(run.kept)} rows of Trace in {run.folder / 'kept'}>"
    assert run.config["name"] == "tiny" and run.report == run.folder / "report.html"


def test_what_is_not_made_yet_is_empty(run: distill.Run) -> None:
    rows = distill.Rows(run.folder / "dataset" / "think", Example)
    assert run.students == {} and list(rows) == [] and len(rows) == 0 and rows.to_pandas().empty
    assert list(rows.to_pandas().columns) == ["pair_id", "prompt", "completion", "target", "weight"]
    with pytest.raises(DataError, match="holds no rows yet"):
        rows.to_datasets()


def test_faults_are_errors_of_their_class(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run"):
        distill.Run(tmp_path)
    with pytest.raises(ConfigError, match="sft.epochs is not a known key"):
        distill.run(TINY, {"sft.epochs": 3}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunFolderError, match="nothing to report"):
        distill.write_report(TINY, out=tmp_path / "run", quiet=True)
    with pytest.raises(RunFolderError, match="not made yet"):
        distill.train(TINY, out=tmp_path / "run", quiet=True)


def test_a_url_is_a_place_too(run: distill.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="holds no run"):
        distill.Run("memory://nowhere/run")
    with pytest.raises(ConfigError, match="holds no run"):
        distill.run(TINY, out=tmp_path / "run", since="memory://nowhere/run", quiet=True)
    with pytest.raises(ConfigError, match="refresh"):
        distill.run(TINY, {"ablate": {"seed": [0, 1]}}, out=tmp_path / "run", since=run.folder, quiet=True)


def test_progress_is_said_unless_it_is_to_be_quiet(run: distill.Run, capsys: pytest.CaptureFixture[str]) -> None:
    distill.make_pairs(TINY, SMALL, out=run.folder)
    assert capsys.readouterr().err == "pairs: unchanged\n"
    distill.make_pairs(TINY, SMALL, out=run.folder, quiet=True)
    assert capsys.readouterr().err == ""


def test_traces_and_judgements_are_rows_too(tmp_path: Path) -> None:
    store.write_rows(tmp_path, [Judgement("q", "d", 0.9, 2.0, 1, "since", "think", 3, "stop")], Judgement)
    (judgement,) = distill.Rows(tmp_path, Judgement)
    assert judgement.score == 0.9
    with pytest.raises(DataError, match="no column"):
        list(distill.Rows(tmp_path, Trace))
