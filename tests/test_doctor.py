"""`distill doctor`: faults with their remedies before a run, and a probe whose answers are not paid for twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.cli import main
from distill.example.server import running
from distill.example.teacher import TeacherSettings
from distill.pipeline import check


def configuration(folder: Path, base_url: str, **settings: object) -> Path:
    rows = [f'{{"query": "hotel in town {n}", "passage": "A hotel in town {n}.", "label": {n % 2}}}' for n in range(8)]
    (folder / "pairs.jsonl").write_text("\n".join(rows) + "\n")
    endpoint = {"base_url": base_url, "model": "example-teacher", "price": {"input": 1.0, "output": 1.0}}
    config = {
        "name": "own",
        "pairs": {"source": "table", "path": "pairs.jsonl"},
        "teacher": {"source": "endpoints", "endpoints": [endpoint]},
        "sft": {"base": "scratch"},
        **settings,
    }
    (folder / "own.yaml").write_text(json.dumps(config))
    return folder / "own.yaml"


def test_the_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[1] for line in lines]
    assert names == ["Python", "torch", "GPU", "memory", "disk", "Ray", "vLLM", "extras"]
    assert {line[0] for line in lines} <= {"✓", "!"}


def test_every_fault_is_shown_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "_in_a_process", lambda *arguments: None)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    path = configuration(tmp_path, "http://127.0.0.1:9/v1")
    sets = "evaluation.sets=[{name: far, source: beir, path: nowhere}]"
    words = ["doctor", str(path), "--out", str(tmp_path / "run"), sets, "sft.base=./no-model"]
    assert main([*words, "teacher.endpoints.0.api_key_env=NO_SUCH_KEY", "--probe", "2"]) == 2
    faults = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("✗")}
    assert "export NO_SUCH_KEY" in faults["key"] and "no such file" in faults["set"]
    assert "sft.base" in faults["base"] and "not asked" in faults["probe"]
    assert not (tmp_path / "run").exists(), "nothing is made where nothing is asked"
    assert main([*words, "teacher.deadline_s=2"]) == 2
    assert "teacher.endpoints.0" in capsys.readouterr().out, "an endpoint that does not answer is a fault"


def test_looking_at_the_example_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else `distill run` would refuse it as a folder that is not its own."""
    monkeypatch.setattr(check, "_in_a_process", lambda *arguments: None)
    tiny = Path(__file__).parents[1] / "configs" / "tiny.yaml"
    for words in (["doctor", str(tiny)], ["run", str(tiny), "--dry-run"], ["evaluate", str(tiny), "--dry-run"]):
        assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "of the embedded example" in capsys.readouterr().out and not (tmp_path / "run").exists()


def test_a_probe_is_not_paid_for_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(TeacherSettings()) as url:
        path = configuration(tmp_path, url)
        out = tmp_path / "run"
        assert main(["doctor", str(path), "--out", str(out), "--probe", "4"]) == 0
        shown = capsys.readouterr().out
        assert shown.count("  reasoning ") == 3 and "the teacher says" in shown
        agreement = next(line for line in shown.splitlines() if "agree with the labels" in line)
        assert "of 4 agree" in agreement and "relevant" in agreement
        assert ("fewer than 6 in 10" in agreement) == (agreement[0] == "!")
        whole = next(line for line in shown.splitlines() if " whole " in line)
        assert "4 answers left: about" in whole and "USD spent so far" in whole
        assert main(["pairs", str(path), "--out", str(out)]) == main(["trace", str(path), "--out", str(out)]) == 0
    counts = json.loads((out / "metrics.json").read_text())["stages"]["trace"]
    assert counts["answered"] == 8 and counts["asked_now"] == 4


def test_a_probe_needs_no_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(TeacherSettings()) as url:
        words = ["doctor", str(configuration(tmp_path, url)), "--out", str(tmp_path / "run"), "--probe", "2"]
        assert main([*words, "sft.base=/no/such"]) == 2
    shown = capsys.readouterr().out
    assert "sft.base: /no/such: no such folder" in shown and "of 2 agree with the labels" in shown


def test_labels_that_pairs_would_refuse_are_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = configuration(tmp_path, "http://127.0.0.1:9/v1")
    lines = (tmp_path / "pairs.jsonl").read_text().replace('"label": 1', '"label": 0.5')
    (tmp_path / "pairs.jsonl").write_text(lines)
    assert main(["doctor", str(path), "--out", str(tmp_path / "run"), "teacher.deadline_s=2"]) == 2
    assert "✗ pairs" in (shown := capsys.readouterr().out) and "'0.5' is not an integer" in shown


def test_a_probe_needs_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--probe", "3"]) == 2
    assert "--probe needs a CONFIG" in capsys.readouterr().err
