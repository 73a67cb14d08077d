"""The lists that every system of a set reranks: what is taken out of them, what is counted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill.cli import main
from distill.errors import DataError
from distill.evaluation.first_stage import FirstStage
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites.base import Suite
from distill.pairs.build import build
from distill.pairs.settings import PairSettings
from distill.pipeline.sets import first_stage, suite_of, texts_of


def write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def beir(folder: Path, passages: dict[str, str], queries: dict[str, str], labels: list[tuple[str, str, int]]) -> Path:
    write(folder / "corpus.jsonl", [{"_id": key, "text": text} for key, text in passages.items()])
    write(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in queries.items()])
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in labels))
    return folder


PASSAGES = {f"d{n}": f"the fox runs over field {n}" for n in range(6)}
QUERIES = {"q0": "fox field", "q1": "over the field", "q2": "badger"}
LABELS = [("q0", "d0", 1), ("q1", "d1", 1), ("q2", "d2", 1)]


def read(folder: Path, **settings: Any) -> tuple[Suite, FirstStage]:
    entry = SetSettings(name="one", path=".", **settings)
    run: Any = SimpleNamespace(
        base=folder, folder=folder, config=SimpleNamespace(pairs=PairSettings(path="other"), seed=0, refresh=None)
    )
    suite = suite_of(run, entry)
    return suite, first_stage(run, entry, suite)


def trec(path: Path, lists: dict[str, list[str]]) -> str:
    rows = [f"{q} Q0 {d} {rank} {100 - rank} x\n" for q, docs in lists.items() for rank, d in enumerate(docs, 1)]
    path.write_text("".join(rows))
    return path.name


# --- what the corpus lacks -----------------------------------------------------------------------------------------


def test_a_run_of_another_corpus_is_refused(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, LABELS)
    name = trec(folder / "half.trec", {q: ["gone0", "gone1", "d0"] for q in QUERIES})
    with pytest.raises(DataError, match=r"half.trec, query 'q0': passage 'gone0' has no text .*\(6 of 9 passages"):
        read(folder, first_stage=name)
    name = trec(folder / "other.trec", {"q0.0": ["d0"]})
    with pytest.raises(DataError, match="other.trec: has none of the queries of the set 'one'"):
        read(folder, first_stage=name)


def test_a_few_missing_passages_are_left_out_counted_and_made_good_from_below(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, LABELS)
    name = trec(folder / "run.trec", {"q0": ["d5", "gone", "d4", "d3"], "q1": ["d1"], "unknown": ["d1"]})
    _, first = read(folder, first_stage=name, depth=3, missing=0.5)
    assert first == {"q0": [("d5", 99.0), ("d4", 97.0), ("d3", 96.0)], "q1": [("d1", 99.0)], "q2": []}
    counts = {what.split(" (")[0]: count for what, count in first.left_out.items()}
    assert counts == {
        "passages of run.trec without a text": 1,
        "queries with an empty list, counted as 0": 1,
        "queries of run.trec that the set does not ask": 1,
    }
    _, first = read(folder, first_stage=name, depth=1)
    assert first["q0"] == [("d5", 99.0)], "below the depth nothing is looked at"


def test_an_empty_text_is_none(tmp_path: Path) -> None:
    folder = beir(tmp_path, {**PASSAGES, "d5": "", "d4": "\u200b"}, {**QUERIES, "q1": " "}, LABELS)
    name = trec(folder / "run.trec", {"q0": ["d5", "d4", "d3"], "q1": ["d1"], "q2": ["d2"]})
    with pytest.raises(DataError, match=r"query 'q0': passage 'd5' has no text .*\(2 of 4 passages"):
        read(folder, first_stage=name)
    _, first = read(folder, first_stage=name, missing=0.5)
    assert first == {"q0": [("d3", 97.0)], "q1": [], "q2": [("d2", 99.0)]}
    assert sorted(first.left_out.values()) == [1, 2]


def test_labels_without_a_text_are_counted_and_an_evaluation_counts_them_as_not_found(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, [*LABELS, ("q0", "gone", 1), ("nobody", "d0", 1)])
    with pytest.raises(DataError, match=r"test.tsv:4: passage 'gone' has no text in corpus.jsonl; .*\(1 of 4 labels"):
        read(folder, missing=0.2)
    suite, _ = read(folder, missing=0.5)
    assert suite.qrels["q0"] == {"d0": 1, "gone": 1} and "nobody" not in suite.qrels
    assert sorted(suite.left_out.values()) == [1, 1]
    assert texts_of(suite) == [*QUERIES.values(), *(PASSAGES[doc] for doc in ("d0", "d1", "d2"))]
    lines: list[str] = []
    settings = PairSettings(path="x", split="test", missing=0.5, negatives="none")  # type: ignore[arg-type]
    pairs, counts = build(settings, 0, folder, notify=lines.append)
    assert {pair.doc_id for pair in pairs} == {"d0", "d1", "d2"} and counts["without_text"] == 2
    assert sum("without a text" in line for line in lines) == 2


def test_a_miners_run_may_lack_a_few_texts(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, LABELS)
    trec(folder / "run.trec", {"q0": ["gone", "d3"], "q1": ["d4"]})
    settings = {"path": "x", "split": "test", "negatives": {"miner": "run", "path": "run.trec", "per_query": 1}}
    with pytest.raises(DataError, match="passage 'gone' has no text in the corpus"):
        build(PairSettings.model_validate(settings), 0, folder)
    lines: list[str] = []
    pairs, _ = build(PairSettings.model_validate({**settings, "missing": 0.5}), 0, folder, notify=lines.append)
    assert {(pair.query_id, pair.doc_id) for pair in pairs if pair.label == 0} == {("q0", "d3"), ("q1", "d4")}
    assert any("1 passage of run.trec without a text" in line and "1 query without a list" in line for line in lines)


def test_lists_of_ids_may_lack_a_few_texts(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, LABELS)
    rows = [{"query-id": query, "corpus-ids": ["d1", "gone", "d1", "d0"]} for query in QUERIES]
    write(folder / "top_ranked.jsonl", rows)
    with pytest.raises(DataError, match=r"top_ranked.jsonl:1: passage 'gone' has no text in corpus.jsonl"):
        read(folder)
    suite, first = read(folder, missing=0.5)
    assert suite.candidates == {query: ["d1", "d0"] for query in QUERIES}
    assert list(suite.left_out.values()) == [3] and {len(rows) for rows in first.values()} == {2}


# --- a BEIR folder's own lists ---------------------------------------------------------------------------------------


def test_top_ranked_of_a_beir_folder_is_what_is_ranked(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, QUERIES, LABELS)
    rows = [{"query-id": "q0", "corpus-ids": ["d3", "d0", "d5"]}, {"query-id": "q1", "corpus-ids": ["d2"]}]
    write(folder / "top_ranked.jsonl", [*rows, {"query-id": "q2", "corpus-ids": []}])
    _, first = read(folder, depth=1)
    assert {query: {doc for doc, _ in rows} for query, rows in first.items()} == {
        "q0": {"d3", "d0", "d5"}, "q1": {"d2"}, "q2": set(),
    }  # fmt: skip
    name = trec(folder / "run.trec", {"q0": ["d5", "d1"], "q1": ["d2"]})
    _, first = read(folder, first_stage=name)
    assert [doc for doc, _ in first["q0"]] == ["d5", "d3", "d0"]


def test_a_set_without_any_passage_to_rank_is_refused(tmp_path: Path) -> None:
    folder = beir(tmp_path, PASSAGES, {"q": "badger"}, [("q", "d0", 1)])
    with pytest.raises(DataError, match="no query has a passage to rerank"):
        read(folder)


# --- a query that is a passage ---------------------------------------------------------------------------------------


def test_a_query_is_not_its_own_first_hit(tmp_path: Path) -> None:
    own = {"q0": "Fox: fox field", "copy": "FOX, field!", "q1": "nothing of it"}
    folder = beir(tmp_path, {**PASSAGES, **own}, QUERIES, [*LABELS, ("q1", "q1", 1)])
    _, first = read(folder, depth=4)
    assert len(first["q0"]) == 4 and not {doc for doc, _ in first["q0"]} & {"q0", "copy"}
    assert any("the query itself" in what and count == 2 for what, count in first.left_out.items())
    _, first = read(folder, depth=4, self_retrieval=True)
    assert {"q0", "copy"} <= {doc for doc, _ in first["q0"]}
    name = trec(folder / "run.trec", {"q0": ["copy", "q0", "d0"], "q1": ["q1"]})
    _, first = read(folder, first_stage=name)
    assert [doc for doc, _ in first["q0"]] == ["d0"] and [doc for doc, _ in first["q1"]] == ["q1"]


def test_a_judged_copy_of_the_query_stays(tmp_path: Path) -> None:
    folder = beir(tmp_path, {**PASSAGES, "copy": "Fox field"}, QUERIES, [*LABELS, ("q0", "copy", 1)])
    _, first = read(folder)
    assert "copy" in {doc for doc, _ in first["q0"]}


# --- runs of one's own -----------------------------------------------------------------------------------------------


def test_queries_that_do_not_count_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "qrels.txt").write_text("q0 0 d0 1\nq1 0 d1 1\n")
    trec(tmp_path / "a.trec", {"q0": ["d0"], "other": ["d0"]})
    assert main(["evaluate", "--qrels", str(tmp_path / "qrels.txt"), "--run", str(tmp_path / "a.trec")]) == 0
    said = capsys.readouterr()
    assert "1 judged query without a list in a, counted as 0" in said.err and "0.5000" in said.out
    assert "1 query of a without judgements, left out" in said.err
