"""`distill evaluate` without a configuration, and the mistakes that one line explains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.cli import main


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Judgements and two runs."""
    (tmp_path / "q.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td1\t2\n" for n in range(30)))
    for name, first, second in (("bad", 1, 2), ("good", 2, 1)):
        lines = (f"q{n} Q0 d1 1 {first} t\nq{n} Q0 x 2 {second} t\n" for n in range(30))
        (tmp_path / f"{name}.trec").write_text("".join(lines))
    return ["--qrels", str(tmp_path / "q.tsv"), "--run", str(tmp_path / "bad.trec"), str(tmp_path / "good.trec")]


def test_no_configuration_is_needed(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = {kind: tmp_path / f"out.{kind}" for kind in ("json", "markdown", "latex")}
    wanted = [word for kind, path in out.items() for word in (f"--{kind}", str(path))]
    assert main(["evaluate", *files, *wanted]) == 0
    said = capsys.readouterr()
    head = said.out.splitlines()[0].split()
    assert head == ["system", "nDCG@10", "nDCG(judged_only=True)@10", "Judged@10"]
    assert "good" in said.out and "1.0000*" in said.out and "p < 0.05" in said.err
    found = json.loads(out["json"].read_text())
    assert found["measures"]["bad"]["nDCG(judged_only=True)@10"] == 1.0 and found["measures"]["bad"]["Judged@10"] == 0.5
    assert found["tests"]["good"]["nDCG@10"]["p_holm"] < 0.001 and len(found["per_query"]["good"]["nDCG@10"]) == 30
    assert out["markdown"].read_text().startswith("| system |") and r"\toprule" in out["latex"].read_text()


def test_the_baseline_can_be_named(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *files, "--baseline", "good", "--measure", "RR@10"]) == 0
    bad, good = capsys.readouterr().out.splitlines()[1:]
    assert "*" in bad and "*" not in good


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--baseline": "none"}, "'none' is none of the systems bad, good"),
        ({"--measure": "nDGC@10"}, "'nDGC@10' is not a measure"),
        ({"--qrels": "nowhere.tsv"}, "nowhere.tsv: no such file"),
        ({"--json": "."}, "--json .: is a folder; name a file"),
        ({"--latex": "/"}, "--latex /: is a folder; name a file"),
    ],
)
def test_mistakes_are_one_line(
    files: list[str], change: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *files, *(word for pair in change.items() for word in pair)]) == 2
    assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_tables_are_written_into_folders_that_are_not_there_yet(files: list[str], tmp_path: Path) -> None:
    wanted = {name: tmp_path / name / "new" / "table" for name in ("json", "markdown", "latex")}
    assert (
        main(["evaluate", *files, *(word for name, path in wanted.items() for word in (f"--{name}", str(path)))]) == 0
    )
    assert all(path.stat().st_size > 100 for path in wanted.values())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--judge-unjudged needs a CONFIG: its teacher grades"),
        (["my.yaml", "--holes-depth", "0"], "--unjudged-depth and --control are at least 1"),
        (["my.yaml", "--control", "0"], "--unjudged-depth and --control are at least 1"),
    ],
)
def test_holes_that_cannot_be_judged(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--judge-holes", *more]) == 2
    assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_one_run_is_not_two_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--seeds", str(tmp_path), str(tmp_path / ".." / tmp_path.name)]) == 2
    assert "a run folder is named twice" in capsys.readouterr().err


def test_something_must_be_asked_for(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate"]) == 2
    assert "needs a CONFIG, or --qrels" in capsys.readouterr().err
    assert main(["evaluate", *files[:2]]) == 2
    assert "needs both --qrels FILE and --run FILE" in capsys.readouterr().err
    assert main(["evaluate", "--dry-run", "nowhere.yaml"]) == 2
    assert "nowhere.yaml: no such file" in capsys.readouterr().err


def test_options_that_would_be_passed_over_are_refused(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "my.yaml", "--measure", "AP"]) == 2
    assert "--measure is for runs of your own" in capsys.readouterr().err
    assert main(["evaluate", "my.yaml", *files]) == 2
    assert "my.yaml: a configuration has its own sets" in capsys.readouterr().err
