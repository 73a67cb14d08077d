"""docs/use-your-student.md, executed: its commands and its Python, in their order, from the run to the server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "use-your-student.md"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the page's code blocks, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    return [(language, text) for language, text in found]


@pytest.mark.slow
def test_the_guide_runs_from_a_run_folder_to_a_served_reranker(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said: list[str] = []
    server: subprocess.Popen[str] | None = None
    address = ""
    try:
        for language, text in blocks():
            assert language in ("bash", "python"), f"a block of {language!r} that nobody runs"
            lines = text.splitlines() if language == "bash" else [text]
            for line in lines:
                if language == "python":
                    command = [sys.executable, "-c", line.replace("http://127.0.0.1:8080", address)]
                else:
                    program, *words = line.split()
                    assert program == "distill"
                    command = [sys.executable, "-m", "distill.cli", *words]
                    if words[0] == "serve":
                        command[-1] = "0"  # a free port
                        server = subprocess.Popen(
                            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
                        )
                        assert server.stdout is not None
                        address = server.stdout.readline().split()[0]
                        continue
                done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
                said.append(done.stdout)
    finally:
        if server is not None:
            server.terminate()
            server.wait(60)
    _, search, _, compared, _, _, served = said
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
