"""The command line: quick to answer, and every wrong input is one line with exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill.cli import main

ROOT = Path(__file__).resolve().parents[1]
RERANK = [
    "rerank",
    "--model",
    "m",
    "--queries",
    "q",
    "--corpus",
    "c",
    "--run",
    "r",
    "--out",
    "o",
    "--precision",
    "1",
    "--recall",
    "1",
]


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing command. See `distill --help`."),
        (["teach"], "No such command 'teach'."),
        (["run"], "Missing argument 'CONFIG'. See `distill run --help`."),
        (["run", "c.yaml", "--frobnicate"], "No such option '--frobnicate'"),
        (["run", "--out", "--dry-run", "c.yaml"], "option --out needs a value"),
        (["run", "c.yaml", "--out"], "Option '--out' requires an argument"),
        (["serve", "--model", "m", "--port", "many"], "Invalid value for '--port': 'many' is not a valid integer"),
        (["export", "run", "--to", "sql"], "Invalid value for '--to': 'sql' is not one of 'dataset', 'trl'"),
        (["view", "run", "more"], "Got unexpected extra argument (more)"),
        (RERANK, "--precision and --recall exclude each other"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"distill: {message}") and printed.err.count("\n") == 1 and not printed.out


def test_an_option_takes_several_values_in_either_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    runs = [tmp_path / f"{name}.trec" for name in "abc"]
    for run in runs:
        run.write_text("q Q0 d 1 1 x\n")
    first, second, third = map(str, runs)
    forms = [["--run", first, second, third], ["--run", first, "--seed", "1", "--run", second, third]]
    forms.append([f"--run={first}", "--run", second, f"--run={third}"])
    for form in forms:
        assert main(["evaluate", "--qrels", str(tmp_path / "qrels"), *form, "--measure", "AP", "RR@10"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["system", "AP", "RR@10"] and [line.split()[0] for line in lines[1:]] == list("abc")


def test_an_option_whose_value_may_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--model"], ["--model", "think"], ["--model", "--to", "dataset"]):
        assert main(["export", str(tmp_path / "nowhere"), *words]) == 2
        assert "nowhere" in capsys.readouterr().err
