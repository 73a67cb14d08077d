"""The command line: quick to answer, and every wrong input is one line with exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill.cli import build_parser, main

ROOT = Path(__file__).resolve().parents[1]


def help_text() -> str:
    """What docs/cli.md holds; `python tests/test_cli.py` writes it."""
    parser = build_parser()
    parts = [parser.format_help()]
    choices = next(a for a in parser._actions if a.choices and a.dest == "command").choices or {}
    parts += [sub.format_help() for sub in choices.values()]  # type: ignore[union-attr]
    blocks = "\n\n".join(f"```\n{part.strip()}\n```" for part in parts)
    return f"# The command line\n\nGenerated from the program's own help; a test compares them.\n\n{blocks}\n"


def test_the_docs_show_the_programs_own_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert (ROOT / "docs" / "cli.md").read_text() == help_text(), "run: COLUMNS=100 python tests/test_cli.py"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from distill.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'transformers', 'openai', 'pydantic', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_options_and_overrides_come_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("name: x\n")
    out = tmp_path / "run"
    assert main(["run", str(config), "--out", str(out), "nonsense.key=1"]) == 2
    assert "nonsense is not a known key" in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "distill: nowhere.yaml: no such file\n"


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(help_text())
