"""A retriever as the first stage of an evaluation set, alone and fused with BM25; and `distill index`, `search`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.cli import main
from distill.errors import ConfigError
from distill.evaluation.first_stage import FirstStage
from distill.evaluation.settings import SetSettings
from distill.pairs.settings import PairSettings
from distill.pipeline.sets import INDEXES, first_stage, set_inputs, suite_of
from distill.retrieval import index
from distill.retrieval.fusion import reciprocal_ranks

PASSAGES = {
    "d0": "fox den wood",
    "d1": "owl night owl",
    "d2": "museum opens mondays",
    "d3": "museum opens sundays",
    "d4": "bee field",
}
QUERIES = {"q0": "fox wood", "q1": "night owl", "q2": "museum opens"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BEIR folder; the query q2 has an instruction."""
    rows: dict[str, list[dict[str, Any]]] = {
        "corpus.jsonl": [{"_id": key, "text": text} for key, text in PASSAGES.items()],
        "queries.jsonl": [{"_id": key, "text": text} for key, text in QUERIES.items()],
    }
    rows["queries.jsonl"][2]["instruction"] = "sundays sundays"
    for name, lines in rows.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in lines))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("q0\td0\t1\nq1\td1\t1\nq2\td3\t1\n")
    return tmp_path


def read(folder: Path, stage: Any, **settings: Any) -> tuple[FirstStage, list[str], Any]:
    entry = SetSettings.model_validate({"name": "one", "path": ".", "first_stage": stage, "depth": 3, **settings})
    said: list[str] = []
    run: Any = SimpleNamespace(
        base=folder, folder=folder / "run", students=folder / "run/students", say=said.append,
        file_hashes=lambda paths: {path.name: "" for path in paths},
        config=SimpleNamespace(
            pairs=PairSettings(path="other"), seed=0, refresh=None, sft=SimpleNamespace(targets=[])
        ),
    )  # fmt: skip
    return first_stage(run, entry, suite_of(run, entry)), said, set_inputs(run, entry)


def test_a_retriever_lists_by_query_and_instruction(folder: Path, retriever: Path) -> None:
    first, said, inputs = read(folder, {"retriever": str(retriever)})
    assert {query: rows[0][0] for query, rows in first.items()} == {"q0": "d0", "q1": "d1", "q2": "d3"}
    assert all(len(rows) == 3 for rows in first.values())
    assert said == [f"  one: {retriever} has encoded 5 of 5 passages"]
    assert "model.safetensors" in inputs  # a retriever trained again is another first stage


def test_the_index_is_made_once(folder: Path, retriever: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(folder, {"retriever": str(retriever)})
    (made,) = (folder / "run" / INDEXES).iterdir()
    before = (made / "00000.npy").stat().st_mtime_ns
    monkeypatch.setattr(index, "write_table", lambda *_: pytest.fail("a whole shard was written again"))
    read(folder, {"retriever": str(retriever)})
    assert (made / "00000.npy").stat().st_mtime_ns == before


def test_a_hybrid_fuses_the_retriever_with_bm25(folder: Path, retriever: Path) -> None:
    dense, _, _ = read(folder, {"retriever": str(retriever)}, depth=5)
    lexical, _, _ = read(folder, "bm25", depth=5)
    fused, _, _ = read(folder, {"hybrid": str(retriever)}, depth=5)
    for query in QUERIES:
        assert fused[query] == reciprocal_ranks([lexical[query], dense[query]])[:5]


@pytest.mark.parametrize("stage", [{}, {"retriever": "a", "hybrid": "b"}])
def test_a_first_stage_is_one_thing(stage: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either"):
        SetSettings.model_validate({"name": "one", "path": ".", "first_stage": stage})


def test_a_folder_that_is_no_model_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation.sets, one, first_stage: the model .* cannot be loaded"):
        read(folder, {"retriever": "qrels"})


def test_a_corpus_is_indexed_and_searched(folder: Path, retriever: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "index"
    assert main(["index", str(folder), "--model", str(retriever), "--out", str(out)]) == 0
    for instruction, best in (("mondays", "d2"), ("sundays", "d3")):
        capsys.readouterr()
        assert main(["search", str(out), "museum opens", "--instruction", instruction, "--top", "2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2 and lines[0].split()[2:] == [best, *PASSAGES[best].split()]
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("fox den")
    assert main(["index", str(texts), "--model", str(retriever), "--out", str(out)]) == 2
    assert "holds an index of other passages" in capsys.readouterr().err
    assert main(["index", str(texts), "--model", str(retriever), "--out", str(tmp_path / "second")]) == 0
