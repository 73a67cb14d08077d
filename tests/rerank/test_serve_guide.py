"""docs/use-your-student.md, executed: its commands and its Python, in their order, from the run to the server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs_page import ROOT, PageRun

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

GUIDE = ROOT / "docs" / "use-your-student.md"


@pytest.mark.slow
def test_the_guide_runs_from_a_run_folder_to_a_served_reranker(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    page = PageRun(tmp_path)
    try:
        said = [printed for _, printed in page.run(GUIDE)]
    finally:
        page.close()
    _, search, _, compared, _, _, _, served = said
    scores = [float(line.split()[0]) for line in search.splitlines()[:5]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert "reranked" in compared and "nDCG@10" in compared
    assert (tmp_path / "runs/mine/students/direct/calibration.json").exists()
    assert sorted(line.split()[0] for line in served.splitlines()) == ["0", "1"]
    first, after = (
        (tmp_path / name).read_text() for name in ("runs/mine/evaluation/test.first_stage.trec", "reranked.trec")
    )
    assert sorted(line.split()[2] for line in first.splitlines()) == sorted(
        line.split()[2] for line in after.splitlines()
    )
