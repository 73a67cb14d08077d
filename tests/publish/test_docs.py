"""docs/dataset-building.md, executed: its configuration, its commands in their order, and its Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.example.world import WorldSettings, write_beir

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "dataset-building.md"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the guide's code blocks that are meant to be run, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    return [(language, text) for language, text in found if language]


def distill(folder: Path, line: str) -> str:
    """Run one command of the guide as it stands; returns what it printed."""
    program, *words = line.split()
    assert program == "distill"
    command = [sys.executable, "-m", "distill.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if words[0] == "view" and "--page" not in words:  # serves until it is ended
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = re.search(r"http://127\S+", server.stdout.readline())
            assert address is not None
            with urllib.request.urlopen(address.group()) as page:
                return str(page.read().decode())
        finally:
            server.terminate()
            server.wait(20)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_guide_runs_from_documents_to_a_dry_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    write_beir(tmp_path / "world", 0, WorldSettings(queries={"train": 12, "dev": 1, "test": 1}))
    shutil.move(tmp_path / "world" / "train", tmp_path / "data" / "handbook")
    said: dict[str, str] = {}
    with running(TeacherSettings(wrong=0.05, truncated=0.03, empty=0.02)) as address:
        for language, text in blocks():
            if language == "yaml":
                name = text.split()[1]
                (tmp_path / name).write_text(text.replace("http://127.0.0.1:8000/v1", address), encoding="utf-8")
            elif language == "bash":
                for line in text.splitlines():
                    said[line] = distill(tmp_path, line)
            elif language == "python":
                done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr[-2000:]
                said["python"] = done.stdout
            else:
                raise AssertionError(f"a block of {language} that nobody runs")
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
