"""A version that reads files otherwise reads them again; what it reads alike lets the stages after it be."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.cli import main
from distill.files import READING

CONFIG = """
name: reading
pairs: {source: table, path: judged.csv, negatives: none}
teacher: {source: none}
"""


def test_files_are_read_again_by_a_version_that_reads_them_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text(CONFIG)
    rows = "".join(f"query {n},a passage about {n},{n % 2}\n" for n in range(8))
    (tmp_path / "judged.csv").write_text("query,passage,label\n" + rows)
    command = ["pairs", str(tmp_path / "my.yaml"), "--out", str(tmp_path / "run")]

    assert main(command) == 0 and main(command) == 0
    assert "pairs: unchanged" in capsys.readouterr().err
    monkeypatch.setattr("distill.pipeline.pairs.READING", READING + 1)
    assert main(command) == 0
    assert "pairs: made again, since this has changed: input reading" in capsys.readouterr().err
