"""Executes docs/notebook.ipynb in a new folder and writes its outputs into it: `python docs/execute.py`, some minutes.

tests/test_notebook.py executes it by the same function, with fewer steps of training.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent / "notebook.ipynb"
TIMEOUT_S = 600  # for one cell


def executed(folder: Path, steps: int | None = None) -> nbformat.NotebookNode:
    """The notebook with the outputs of now, its files in `folder`; `steps` in place of its own number of steps.

    Raises CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells if steps else ():
        cell.source = re.sub(r"max_steps: \d+", f"max_steps: {steps}", cell.source)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # what goes to stderr is about this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
    print(NOTEBOOK, file=sys.stderr)
