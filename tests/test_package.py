"""Wheel and source archive: what they hold, and the quickstart's configuration run from the installed wheel alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import distill

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("distill", "teacher", "filters", "sft", "configs")
SMALL = (
    "pairs.example.queries={train: 30, dev: 4, test: 8}",
    "sft.training.max_steps=6",
    "sft.targets=[direct]",
    "evaluation.sets.0.depth=4",
)


def test_one_version_everywhere_and_forms_that_parse() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == distill.__version__ == citation["version"]
    assert citation["license"] == project["license"]
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")]
    assert sum("body" in form for form in forms) == 2
    copied = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    assert set(SOURCES) <= set(copied), "the image lacks a package"


def build(kind: str, source: Path, out: Path) -> Path:
    """The wheel or sdist of a source folder, by setuptools as pip calls it, without an index."""
    out.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b, sys; print(b.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.split()[-1]


def run(command: list[str | Path], folder: Path) -> str:
    """What a command prints, run in a folder without this environment's own paths."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def installed(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """(its commands, its packages) of a fresh environment into which pip has installed the wheel, and nothing else: the
    packages that it needs are read from this environment, whose own install of the project is not."""
    run([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    commands = folder / "bin"
    (site,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", commands / "python"]
    run([*pip, "install", "-q", "--no-index", "--no-deps", wheel], folder.parent)
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return commands, site


def files_of(root: Path) -> set[str]:
    """The files of the packages, the recipes among them, that a link leads to in the source."""
    found = (
        Path(folder) / name
        for package in SOURCES[:4]
        for folder, _, names in os.walk(root / package, followlinks=True)
        for name in names
    )
    return {str(path.relative_to(root)) for path in found if path.suffix != ".pyc"}


@pytest.mark.slow
def test_the_wheel_of_the_source_archive_runs_the_quickstart_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    with tarfile.open(build("sdist", source, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    commands, site = installed(build("wheel", unpacked, tmp_path / "wheel"), tmp_path / "environment")

    assert files_of(site) == files_of(source) and {f"{name}/py.typed" for name in SOURCES[:4]} <= files_of(site)
    work = tmp_path / "work"
    work.mkdir()
    code = "import distill, teacher, filters, sft; print(distill.__file__, teacher.__file__, sft.__file__)"
    assert all(Path(path).is_relative_to(site) for path in run([commands / "python", "-c", code], work).split())
    assert distill.__version__ in run([commands / "distill", "--version"], work)
    assert "quickstart" in run([commands / "distill", "init", "--recipe", "list"], work)
    run([commands / "distill", "init", "--recipe", "quickstart"], work)
    run([commands / "distill", "run", "quickstart.yaml", *SMALL], work)
    assert (work / "runs/quickstart/report.html").exists()
