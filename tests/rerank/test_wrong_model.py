"""A student that is not there, or that is damaged, is refused in one line by every command that judges pairs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    queries = [json.dumps({"_id": f"q{n}", "text": f"fox {n}"}) + "\n" for n in range(6)]
    (tmp_path / "queries.jsonl").write_text("".join(queries))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": "a lazy dog"}) + "\n")
    (tmp_path / "in.trec").write_text("".join(f"q{n} Q0 d 1 1 bm25\n" for n in range(6)))
    (tmp_path / "qrels.txt").write_text("".join(f"q{n} 0 d 1\n" for n in range(6)))
    (tmp_path / "instructions.txt").write_text("be strict\nbe lenient\n")
    given = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "run": "in.trec"}
    return [word for flag, name in given.items() for word in (f"--{flag}", str(tmp_path / name))]


@pytest.mark.parametrize("command", ["rerank", "calibrate", "sweep"])
@pytest.mark.parametrize(
    ("wrong", "message"), [("nowhere/at/all", "no such folder"), ("torn", "not a student that loads")]
)
def test_it_is_one_line(
    command: str, wrong: str, message: str, tiny: Path, files: list[str], tmp_path: Path, capsys: Any
) -> None:
    torn = shutil.copytree(tiny, tmp_path / "torn")
    (torn / "config.json").write_text('{"model_type": ')
    judged = [] if command == "rerank" else ["--qrels", str(tmp_path / "qrels.txt")]
    more = {
        "rerank": ["--out", str(tmp_path / "out.trec")],
        "sweep": ["--instructions", str(tmp_path / "instructions.txt")],
    }.get(command, [])
    assert main([command, "--model", str(tmp_path / wrong), *files, *judged, *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1] and wrong in error[-1] and "Traceback" not in "".join(error)
    assert not (tmp_path / "out.trec").exists()
