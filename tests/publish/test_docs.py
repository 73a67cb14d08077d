"""docs/dataset-building.md, executed: its configuration, its commands in their order, and its Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.example.world import WorldSettings, write_beir
from tests.docs_page import ROOT, PageRun

GUIDE = ROOT / "docs" / "dataset-building.md"


@pytest.mark.slow
def test_the_guide_runs_from_documents_to_a_dry_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    write_beir(tmp_path / "world", 0, WorldSettings(queries={"train": 12, "dev": 1, "test": 1}))
    shutil.move(tmp_path / "world" / "train", tmp_path / "data" / "handbook")
    with running(TeacherSettings(wrong=0.05, truncated=0.03, empty=0.02)) as address:
        page = PageRun(tmp_path, {"http://127.0.0.1:8000/v1": address})
        said = dict(page.run(GUIDE))
        page.close()
    built = tmp_path / "runs" / "handbook" / "dataset" / "kept-traces"
    card = (built / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card and "# Handbook traces" in card and "| finished |" in card
    kept = int(said["python"].split()[0])
    assert kept > 60 and f"{kept} reasoning traces over 12 queries" in card
    assert "</think> " in said["python"]
    assert f"{kept} rows, {kept} sound, 0 broken" in said["distill validate runs/handbook"]
    assert "<title>" in said["distill view runs/handbook"]
    assert "Wanted" in (tmp_path / "traces.html").read_text(encoding="utf-8")
    formats = {path.name for path in (tmp_path / "runs" / "handbook" / "export").iterdir()}
    assert formats == {"trl", "llama-factory", "messages", "rank1", "sentence-transformers", "beir", "dataset"}
    push = next(text for line, text in said.items() if "--dry-run" in line)
    assert "would push 3 files" in push and "datasets/me/handbook-traces (private)" in push


def test_the_guide_names_every_format() -> None:
    from distill.publish.formats import FORMATS

    text = GUIDE.read_text(encoding="utf-8")
    assert all(f"| `{name}`" in text for name in FORMATS)
