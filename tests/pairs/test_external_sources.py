"""A source, and a kind of evaluation set, in a file of one's own: named `file.py:Class`, used through the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill import store
from distill.cli import main
from distill.pairs.sources import SOURCES
from distill.records import Pair
from tests.test_pipeline import own_config

FAQ = '''
from distill.pairs.sources.base import Source

class Faq(Source):
    """Lines of question = answer."""

    def _lines(self):
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            question, _, answer = line.partition(" = ")
            yield f"{self.path}:{number}", str(number), question, answer

    def files(self):
        return [self.path]

    def queries(self):
        return ((where, key, question, None) for where, key, question, _ in self._lines())

    def passages(self):
        return ((where, key, answer) for where, key, _, answer in self._lines())

    def labels(self, split):
        return ((where, key, key, 1) for where, key, _, _ in self._lines())
'''


def configured(folder: Path, **pairs: object) -> Path:
    path = own_config(folder)
    config = json.loads(path.read_text())
    config["pairs"] = {
        "source": "faq.py:Faq",
        "path": "faq.txt",
        "negatives": {"miner": "random", "per_query": 1},
        **pairs,
    }
    config["evaluation"] = {"sets": []}
    path.write_text(json.dumps(config))
    return path


def test_a_source_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faq.py").write_text(FAQ)
    (tmp_path / "faq.txt").write_text("where do foxes live = In a den.\nwho hunts at night = The owl does.\n")
    config, out = configured(tmp_path), tmp_path / "run"
    assert main(["pairs", str(config), "--out", str(out)]) == 0
    pairs = {(pair.query, pair.passage): pair.label for pair in store.read_rows(out / "pairs", Pair)}
    assert pairs["who hunts at night", "The owl does."] == 1 and pairs["who hunts at night", "In a den."] == 0
    assert main(["pairs", str(config), "--out", str(out)]) == 0
    before = capsys.readouterr().err
    (tmp_path / "faq.py").write_text(FAQ.replace("key, key, 1)", "key, key, 2)"))  # its file is in the fingerprint
    assert main(["pairs", str(config), "--out", str(out)]) == 0, before
    assert {pair.label for pair in store.read_rows(out / "pairs", Pair)} == {0, 2}


def test_a_changed_file_of_a_sources_folder_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = FAQ.replace("def files(", "def unused(").replace("self.path.read", '(self.path / "deep" / "faq.txt").read')
    (tmp_path / "faq.py").write_text(own)
    (tmp_path / "set" / "deep").mkdir(parents=True)
    text = tmp_path / "set" / "deep" / "faq.txt"
    text.write_text("where do foxes live = In a den.\nwho hunts at night = The owl does.\n")
    command = ["pairs", str(configured(tmp_path, path="set")), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    (tmp_path / "set" / ".DS_Store").write_text("junk")
    (tmp_path / "set" / "run").mkdir()
    (tmp_path / "set" / "run" / ".lease").touch()
    (tmp_path / "set" / "run" / "log.jsonl").write_text("what another run writes")
    capsys.readouterr()
    assert main(command) == 0 and "pairs: unchanged" in capsys.readouterr().err
    text.write_text("where do foxes live = In a den.\nwho hunts at night = The cat does.\n")
    assert main(command) == 0
    passages = {pair.passage for pair in store.read_rows(tmp_path / "run" / "pairs", Pair)}
    assert passages == {"In a den.", "The cat does."}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("faq.py:Missing", "has no class 'Missing'; it has Faq"),
        ("none.py:Faq", "no such file"),
        ("tabel", "did you mean 'table'?"),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, said: str) -> None:
    (tmp_path / "faq.py").write_text(FAQ)
    (tmp_path / "faq.txt").write_text("a = b\n")
    assert main(["pairs", str(configured(tmp_path, source=source)), "--out", str(tmp_path / "run")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert len(lines) == 1 and said in lines[0]


def test_built_in_sources_are_found_by_being_there() -> None:
    assert SOURCES.names() == (
        "beir", "example", "huggingface", "ir_datasets", "table", "tevatron", "texts", "trec"
    )  # fmt: skip
    assert all(SOURCES.load(name).__module__.endswith(f".{name}") for name in SOURCES.names())


SUITE = '''
from dataclasses import replace
from distill.evaluation.suites.base import Layout, plain

class Short(Layout):
    """Only the queries that short.txt names."""

    names = ("short.txt",)

    def read(self, folder, split, texts, gaps):
        wanted = (folder / "short.txt").read_text().split()
        own = plain("short", texts)
        return replace(own, queries={q: own.queries[q] for q in wanted}, qrels={q: own.qrels[q] for q in wanted})
'''


def test_a_kind_of_evaluation_set_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from distill.evaluation.settings import SetSettings
    from distill.pipeline.sets import set_inputs, suite_of
    from tests.evaluation.test_suites import OneRun, beir

    beir(tmp_path, {"q1": "red fox", "q2": "owl"}, [("q1", "d0", 1), ("q2", "d1", 1)])
    (tmp_path / "short.txt").write_text("q2\n")
    (tmp_path / "short.py").write_text(SUITE)
    run = OneRun(tmp_path)
    run.file_hashes = lambda paths: {path.name: "" for path in paths}  # type: ignore[attr-defined]
    entry = SetSettings(name="one", path=".", kind="short.py:Short")
    assert set(suite_of(run, entry).queries) == {"q2"}  # type: ignore[arg-type]
    assert {"short.txt", "short.py", "corpus.jsonl"} <= set(set_inputs(run, entry))  # type: ignore[arg-type, operator]
