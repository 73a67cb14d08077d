"""What cannot work is refused before anything runs: one line with the key's path and the remedy, exit status 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.test_pipeline import beir, own_config

MADE = {"name": "test", "source": "pairs", "split": "test"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": {"sets": [MADE]}}, "evaluation.sets.0.split: 'test' is no part of the pairs that are made"),
        ({"pairs.judge": {}, "teacher": {"source": "import", "import": {"path": "t.parquet"}}}, "answers nothing"),
        ({"pairs.language": "klingon"}, "pairs.language: known are ar, "),
        ({"pairs.source": "bier"}, "pairs.source: "),
        ({"pairs.negatives": {"mix": [{"miner": "run"}]}}, "pairs.negatives.mix.0: miner run needs path"),
        ({"pairs.negativs": {}}, "did you mean 'negatives'?"),
        ({"pairs.ask": ["dev"]}, "ask: 'dev' is no part of the split"),
    ],
)
def test_refused_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    beir(tmp_path / "data")
    path = own_config(tmp_path)
    config = json.loads(path.read_text())
    for key, value in changes.items():
        outer, _, inner = key.partition(".")
        if inner:
            config[outer][inner] = value
        else:
            config[outer] = value
    path.write_text(json.dumps(config))
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert len(shown) == 1 and said in shown[0], shown
    assert not (tmp_path / "run" / "pairs").exists()


def test_a_part_that_is_asked_about_can_be_an_exam(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beir(tmp_path / "data")
    path = own_config(tmp_path)
    config = json.loads(path.read_text())
    config["pairs"] |= {"split": {"train": 0.5, "test": 0.5}, "ask": ["train", "test"]}
    config["evaluation"] = {"sets": [MADE]}
    path.write_text(json.dumps(config))
    assert main(["pairs", str(path), "--out", str(tmp_path / "run")]) == 0
    counts = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]["pairs"]
    assert counts["by_split"] == {"train": 6, "test": 6}
    capsys.readouterr()
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--dry-run", "--json"]) == 0
    due = json.loads(capsys.readouterr().out)["due"]
    assert not due["pairs"] and due["trace"]


@pytest.mark.parametrize("columns", [{}, {"split": "part"}])
def test_an_exam_is_never_the_lesson_under_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, str]
) -> None:
    """A table without a column of splits is all there is, whatever `split` is called."""
    words = ["fox", "owl", "bee", "ant", "elk", "hen"]
    rows = [{"query": f"where is the {w}", "passage": f"the {w} is here", "label": 1} for w in words]
    parts = [{**row, "part": "test" if at > 3 else "train"} for at, row in enumerate(rows)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (parts if columns else rows)))
    source = {"source": "table", "path": "pairs.jsonl", "columns": columns}
    config = json.loads(own_config(tmp_path).read_text())
    config["pairs"] = {**source, "clean": {"decontaminate": True}}  # reads the exam already in the first stage
    config["evaluation"] = {"sets": [{"name": "exam", **source, "split": "test"}]}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    status = main(["pairs", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    if columns:
        counts = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]["pairs"]
        assert status == 0 and counts["queries"] == 4
    else:
        assert status == 2 and "has no split 'test' apart from the one that is trained on" in said


@pytest.mark.parametrize(
    ("pairs", "entry", "said"),
    [
        ({"path": "pairs.jsonl"}, {"path": "./pairs.jsonl"}, "no split 'test' apart from the one that is trained on"),
        (
            {"path": "pairs.jsonl", "split": {"train": 0.5, "dev": 0.5}},
            {"path": "pairs.jsonl"},
            "(pairs.split: dev, train)",
        ),
        (
            {"files": {"pairs": "pairs.jsonl"}},
            {"files": {"pairs": "pairs.jsonl"}},
            "no split 'test' apart from the one",
        ),
        ({"path": "pairs.jsonl"}, {"source": "tabel", "path": "x"}, "did you mean 'table'?"),
        ({"path": "pairs.jsonl"}, {"source": "texts", "path": "x"}, "texts has no graded passages"),
        ({"path": "pairs.jsonl"}, {"source": "beir", "path": ".", "kind": "nevri"}, "did you mean 'nevir'?"),
        ({"path": "pairs.jsonl"}, {"source": "beir", "path": "nev", "kind": "nevir"}, "there are dev, train"),
    ],
)
def test_an_exam_that_is_the_lesson_or_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: dict[str, Any], entry: dict[str, Any], said: str
) -> None:
    rows = [{"query": f"question {at}", "passage": f"answer {at}", "label": 1} for at in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "nev").mkdir()
    for name in ("dev", "train"):
        (tmp_path / "nev" / f"{name}.jsonl").write_text('{"id": 1, "q1": "a", "q2": "b", "doc1": "c", "doc2": "d"}\n')
    config = json.loads(own_config(tmp_path).read_text())
    config["pairs"] = {"source": "table", **pairs, "clean": {"decontaminate": True}}  # reads the exam already here
    config["evaluation"] = {"sets": [{"name": "exam", "source": "table", **entry}]}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    assert main(["pairs", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert len(lines) == 1 and said in lines[0], lines


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ([("q0", ["d0"]), ("q0", ["d1"])], "top_ranked.jsonl:2: query-id 'q0' is there twice"),
        ([("q0", ["d0"])], "top_ranked.jsonl: no list for query 'q1'"),
    ],
)
def test_a_sets_own_lists_are_looked_at_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lists: list[tuple[str, list[str]]], said: str
) -> None:
    beir(tmp_path / "data")
    folder = beir(tmp_path / "set")
    (folder / "qrels" / "test.tsv").write_text("q0\td0\t1\nq1\td1\t1\n")
    for number, name in enumerate(("corpus.jsonl", "queries.jsonl")):
        rows = [{"_id": f"{'dq'[number]}{at}", "text": f"word {at} of {name}"} for at in range(2)]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"query-id": query, "corpus-ids": ids} for query, ids in lists]
    (folder / "top_ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = json.loads(own_config(tmp_path).read_text())
    config["evaluation"] = {"sets": [{"name": "exam", "source": "beir", "path": "set", "split": "test"}]}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    assert main(["run", str(tmp_path / "own.yaml"), "--dry-run", "--out", str(tmp_path / "dry")]) == 0
    assert said in capsys.readouterr().err
    assert main(["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_pairs_need_no_teacher_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole configuration of docs/pairs.md; a teacher's key is asked for where a stage asks."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "pairs.md").read_text(encoding="utf-8")
    config = tmp_path / "config.yaml"
    config.write_text(page.split("A whole configuration:\n\n```yaml\n")[1].split("```")[0])
    folder = beir(tmp_path / "my-folder")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "train.tsv")
    assert main(["pairs", str(config), "--out", str(tmp_path / "out")]) == 0, folder
    capsys.readouterr()
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "teacher: none is named; say who is asked" in capsys.readouterr().err
    assert main(["pairs", str(config), "pairs.judge={}", "--out", str(tmp_path / "out")]) == 2
    assert "teacher.source none answers nothing" in capsys.readouterr().err
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    teacher = "teacher={endpoints: [{base_url: 'http://127.0.0.1:9/v1', model: m, api_key_env: NO_SUCH_KEY}]}"
    for _ in range(2):
        assert main(["pairs", str(config), teacher, "--out", str(tmp_path / "keyed")]) == 0
    assert main(["trace", str(config), teacher, "--out", str(tmp_path / "keyed")]) == 2
    assert "NO_SUCH_KEY" in capsys.readouterr().err


LINES = [{"query": "apple harvest", "passage": "Apples are picked in autumn.", "label": 1}]
NEGATION = [{"id": 1, "q1": "a", "q2": "b", "doc1": "c", "doc2": "d"}]
DIVIDED = {"corpus.jsonl": [{"_id": "d", "text": "x"}], "queries.jsonl": [{"_id": "q", "text": "y"}]}


def of_trec(**qrels: str) -> dict[str, Any]:
    files = {"corpus": "c/corpus.jsonl", "queries": "c/queries.jsonl"}
    return {"source": "trec", "split": "dev", "files": {**files, **qrels}}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"source": "table", "path": "set.jsonl", "split": "dev"}, "s.split: 'dev', and the data have no splits"),
        (of_trec(qrels="qrels.txt"), "s.split: 'dev', and the data have no splits; name the file qrels.dev"),
        (of_trec(**{"qrels.validation": "qrels.txt"}), "there is qrels.validation (did you mean 'validation'?)"),
        *(({"kind": kind, "path": "c", "split": "validation"}, "there are dev (did you mean 'dev'?)")
          for kind in ("beir", "dl19", "bright", "followir", "instructir")),
        ({"kind": "nevir", "path": "n", "split": "dev"}, "there are validation (did you mean 'validation'?)"),
        ({"source": "ir_datasets", "path": "beir/scifact/test", "split": "dev"}, "the ID names the split"),
        ({"source": "huggingface", "path": "h", "split": "val"}, "no split 'val'; there are validation (did you mean"),
    ],
)  # fmt: skip
def test_an_evaluation_set_of_every_kind_has_its_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: dict[str, Any], message: str
) -> None:
    rows = {"set.jsonl": LINES, "n/validation.jsonl": NEGATION, "h/validation.jsonl": LINES, "train.jsonl": LINES}
    rows |= {f"c/{name}": content for name, content in DIVIDED.items()}
    for name, content in rows.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    (tmp_path / "c" / "qrels").mkdir()
    (tmp_path / "c" / "qrels" / "dev.tsv").write_text("q\td\t1\n")
    (tmp_path / "qrels.txt").write_text("q 0 d 1\n")
    pairs = {"source": "table", "path": "train.jsonl", "negatives": "none", "clean": {"decontaminate": True}}
    evaluation = {"sets": [{"name": "s", **entry}]}
    settings = {"name": "x", "pairs": pairs, "teacher": {"source": "example"}, "evaluation": evaluation}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert main(["pairs", str(tmp_path / "config.json"), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
