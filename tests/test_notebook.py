"""docs/notebook.ipynb: executed as it is, and committed with its outputs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", ROOT / "docs/execute.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell of code has printed and returned."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(output.get("text") or output.data["text/plain"] for output in cell.outputs) for cell in cells]


def test_the_notebook_is_committed_with_outputs_that_name_no_machine(execute: ModuleType) -> None:
    notebook = nbformat.read(execute.NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(printed(notebook))
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not re.findall(r'"stderr"|"error"|/home/|/root/|/tmp/|site-packages', outputs)


@pytest.mark.slow
def test_the_notebook_runs_from_a_table_to_a_served_student(
    execute: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    now = printed(execute.executed(tmp_path, steps=5))
    committed = printed(nbformat.read(execute.NOTEBOOK, as_version=4))
    assert len(now) == len(committed) and now[:3] == committed[:3]
    assert (tmp_path / "runs/my/students/think/model.safetensors").is_file()
    assert (tmp_path / "runs/my/report.html").is_file()
    assert {line[0] for line in now[-1].splitlines()} >= {"0", "1"}, "each document has its score from the server"
