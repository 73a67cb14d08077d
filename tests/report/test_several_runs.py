"""Several runs: an index of their reports, and a run against the one before it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from fabricate import fabricate
from test_report import Page, page_of

from distill import store
from distill.cli import main
from distill.report.earlier import section
from distill.report.evaluated import evaluation_sets
from distill.report.files import RunFiles


def evaluated_at(run: Path, when: str) -> Path:
    """Date the run's evaluation."""
    manifest = store.read_manifest(run / "evaluation")
    assert manifest is not None
    store.write_json(run / "evaluation" / store.MANIFEST, {**manifest, "written": when})
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    evaluated_at(fabricate(folder / "old", queries=40, gain=0.1), "2026-01-01T00:00:00Z")
    evaluated_at(fabricate(folder / "new", queries=40, gain=0.9), "2026-02-01T00:00:00Z")
    fabricate(folder / "half", upto="pairs")
    (folder / "notes.txt").write_text("no run\n")
    return folder


def test_an_index_leads_to_each_runs_report(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *map(str, sorted(runs.iterdir()))]) == 0
    path = runs / "index.html"
    assert capsys.readouterr().out.strip() == str(path)
    page = Page(path.read_text(encoding="utf-8"))
    links = [unquote(href) for href in page.values("href")]
    assert sorted(links) == ["half/report.html", "new/report.html", "old/report.html"]
    assert all((runs / link).exists() for link in links)
    assert "3 runs" in page.text and "1 of 6 stages" in page.text and "Ship think" in page.text.replace("  ", " ")
    assert main(["report", *map(str, sorted(runs.iterdir()))]) == 0, "the index itself is among runs/*"


def test_one_run_has_a_report_and_no_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fabricate(tmp_path / "one", queries=4)
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").exists() and not (tmp_path / "index.html").exists()


def test_what_is_no_run_is_an_error(runs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", str(tmp_path), str(runs / "notes.txt")]) == 2
    assert "none is a run folder" in capsys.readouterr().err


def test_a_run_is_compared_with_the_one_before_it(runs: Path, tmp_path: Path) -> None:
    files = RunFiles(runs / "new")
    made = section(files, evaluation_sets(files))
    assert made is not None and made["href"] == "old"
    values = [evaluation_sets(RunFiles(runs / name))[0].value("think") or 0.0 for name in ("old", "new")]
    row = next(row for row in made["rows"] if row[0] == "think")
    assert row[1:3] == tuple(f"{value:.3f}" for value in values) and row[5] == (values[1] > values[0])
    old = RunFiles(runs / "old")
    assert section(old, evaluation_sets(old)) is None, "there is none before it"
    assert "Against the run before" in page_of(runs / "new").text
    detail = store.read_json(runs / "old" / "evaluation" / "test.json")
    detail["queries"] = dict.fromkeys(detail["queries"], "another text")
    store.write_json(runs / "old" / "evaluation" / "test.json", detail)
    assert section(files, evaluation_sets(files)) is None, "ids of other queries are not the same queries"


def test_a_run_with_few_queries_in_common_is_no_run_before(tmp_path: Path) -> None:
    evaluated_at(fabricate(tmp_path / "small", queries=9), "2026-01-01T00:00:00Z")
    files = RunFiles(evaluated_at(fabricate(tmp_path / "new", queries=20), "2026-02-01T00:00:00Z"))
    assert section(files, evaluation_sets(files)) is None
    evaluated_at(fabricate(tmp_path / "half", queries=10), "2026-01-01T00:00:00Z")
    made = section(files, evaluation_sets(files))
    assert made is not None and made["href"] == "half" and made["queries"] == "10"
