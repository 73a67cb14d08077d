"""Sources read exactly, splits that share no query, negatives that are not known positives."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distill.errors import DataError
from distill.evaluation.evaluate import evaluate
from distill.pairs.bm25 import Bm25
from distill.pairs.build import build, collection
from distill.pairs.collection import Collection, gather
from distill.pairs.settings import PairSettings
from distill.pairs.sources.beir import Beir


def read_beir(folder: Path, split: str | None) -> Collection:
    return gather(Beir(folder), split)


WORDS = ["fox", "dog", "cat", "owl", "bee", "ant", "elk", "hen", "cow", "pig"]


def write(folder: Path, qrels: dict[str, list[tuple[str, str, Any]]], **files: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    docs = [{"_id": f"d{i}", "title": w, "text": f"The {w} lives in the wood number {i}."} for i, w in enumerate(WORDS)]
    queries = [{"_id": f"q{i}", "text": f"where in the wood does the {w} live"} for i, w in enumerate(WORDS)]
    (folder / "corpus.jsonl").write_text(files.get("corpus") or "".join(json.dumps(d) + "\n" for d in docs))
    (folder / "queries.jsonl").write_text(files.get("queries") or "".join(json.dumps(q) + "\n" for q in queries))
    for name, rows in qrels.items():
        lines = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows)
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


POSITIVES = [(f"q{i}", f"d{i}", 1) for i in range(10)]


def settings(**values: Any) -> PairSettings:
    return PairSettings.model_validate({"source": "beir", "path": "x", "split": "train", **values})


def test_title_and_text_are_one_passage(tmp_path: Path) -> None:
    data = read_beir(write(tmp_path, {"train": POSITIVES}), "train")
    assert data.passages["d0"] == "fox The fox lives in the wood number 0."
    assert data.qrels["q3"] == {"d3": 1}


def test_gzipped_files_and_a_byte_order_mark(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train": POSITIVES})
    corpus = (folder / "corpus.jsonl").read_bytes()
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + corpus))
    assert len(read_beir(folder, "train").passages) == 10


def test_negative_grades_are_nought_and_counted(tmp_path: Path) -> None:
    data = read_beir(write(tmp_path, {"train": [("q0", "d0", 2), ("q0", "d1", -2)]}), "train")
    assert data.qrels["q0"] == {"d0": 2, "d1": 0} and data.negative_grades == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("q0", "d0", "high")], r"train.tsv:2: the label 'high' is not an integer"),
        ([("q0", "d0", "1.5")], r"train.tsv:2: the label '1.5' is not an integer"),
        ([("q0", "d0", 1), ("q0", "d0", 0)], r"train.tsv:3: the pair 'q0', 'd0' is judged twice"),
        ([("q99", "d0", 1)], r"train.tsv:2: query 'q99' has no text in queries.jsonl"),
        ([("q0", "d99", 1)], r"train.tsv:2: passage 'd99' has no text in corpus.jsonl"),
        ([], r"train.tsv: is empty"),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, rows: list[tuple[str, str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_beir(write(tmp_path, {"train": rows}), "train")


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ('{"_id": "a", "text": "x"}\nnot json\n', r"corpus.jsonl:2: not JSON"),
        ('{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', r"corpus.jsonl:2: the id 'a' is there twice"),
        ('{"id": "a", "body": "x"}\n', r"corpus.jsonl:1: .* this has id, body"),
        ('{"_id": "a", "text": 5}\n', r"corpus.jsonl:1: a line is an object with _id and text"),
        ("\n\n", r"corpus.jsonl: is empty"),
    ],
)
def test_wrong_passages_are_named(tmp_path: Path, corpus: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_beir(write(tmp_path, {"train": POSITIVES}, corpus=corpus), "train")


def test_a_missing_split_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there are dev, test, or give shares"):
        read_beir(write(tmp_path, {"test": POSITIVES, "dev": POSITIVES}), "train")
    with pytest.raises(DataError, match=r"holds dev, test; say which one is split in pairs.qrels"):
        read_beir(tmp_path, None)


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    corpus = '{"_id": "d0", "text": "broken \\ud83d here"}\n'
    data = read_beir(write(tmp_path, {"train": [("q0", "d0", 1)]}, corpus=corpus), "train")
    data.passages["d0"].encode("utf-8")
    assert data.passages["d0"] == "broken ? here"


def test_shares_part_the_queries_and_leave_none_out(tmp_path: Path) -> None:
    folder = write(tmp_path, {"test": POSITIVES})
    shares = {"train": 0.5, "dev": 0.2, "test": 0.3}
    parts = {name: set(collection(settings(split=shares), folder, 7, name).queries) for name in shares}
    assert Counter(q for part in parts.values() for q in part) == Counter(f"q{i}" for i in range(10))
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "dev": 2, "test": 3}
    assert set(collection(settings(split=shares), folder, 7).queries) == parts["train"]
    assert set(collection(settings(split=shares), folder, 8, "test").queries) != parts["test"]


def test_negatives_are_mined_where_none_are_judged(tmp_path: Path) -> None:
    pairs, counts = build(settings(negatives={"per_query": 3}), 0, write(tmp_path, {"train": POSITIVES}))
    assert counts["relevant"] == 10 and counts["by_source"] == {"qrels": 10, "bm25": 30}
    for pair in pairs:
        known = pair.doc_id == f"d{pair.query_id[1:]}"
        assert (pair.label, pair.label_origin) == ((1, "judged") if known else (0, "assumed"))
    assert list(build(settings(negatives={"per_query": 3}), 0, tmp_path)[0]) == list(pairs)


def test_judged_negatives_are_enough_unless_more_are_asked_for(tmp_path: Path) -> None:
    rows = [*POSITIVES, *((f"q{i}", f"d{(i + 1) % 10}", 0) for i in range(10))]
    _, counts = build(settings(), 0, write(tmp_path, {"train": rows}))
    assert counts["by_source"] == {"qrels": 20}
    _, counts = build(settings(negatives={"per_query": 2}), 0, tmp_path)
    assert counts["by_source"] == {"qrels": 20, "bm25": 20}


def test_equal_passages_are_one_pair_with_the_second_listed(tmp_path: Path) -> None:
    corpus = "".join(json.dumps({"_id": f"d{i}", "text": "the same words"}) + "\n" for i in range(2))
    corpus += json.dumps({"_id": "d2", "text": "  "}) + "\n"
    rows = [("q0", "d0", 1), ("q0", "d1", 1), ("q0", "d2", 0)]
    pairs, counts = build(settings(), 0, write(tmp_path, {"train": rows}, corpus=corpus))
    assert [(p.doc_id, p.duplicate) for p in pairs] == [("d0", "d1")]
    assert (counts["duplicates"], counts["empty"]) == (1, 1)


def test_of_two_judgements_on_one_text_the_higher_counts_and_both_are_told(tmp_path: Path) -> None:
    """Whichever id comes first: a text that is relevant under one name is no negative under another."""
    corpus = "".join(json.dumps({"_id": f"d{i}", "text": "the same words"}) + "\n" for i in range(2))
    for grades in ((0, 2), (2, 0)):
        rows = [("q0", f"d{i}", grade) for i, grade in enumerate(grades)]
        (pair,), counts = build(settings(), 0, write(tmp_path / str(grades[0]), {"train": rows}, corpus=corpus))
        best = grades.index(2)
        assert (pair.label, pair.doc_id, pair.duplicate) == (2, f"d{best}", f"d{1 - best}")
        assert counts["labels"] == {"contradictory": 1} and counts["duplicates"] == 1
    _, counts = build(
        settings(), 0, write(tmp_path / "c", {"train": [("q0", "d0", 1), ("q0", "d1", 1)]}, corpus=corpus)
    )
    assert "labels" not in counts


def test_a_threshold_says_what_counts_as_relevant(tmp_path: Path) -> None:
    rows = [("q0", "d0", 3), ("q0", "d1", 1)]
    pairs, _ = build(settings(relevant_from=2), 0, write(tmp_path, {"train": rows}))
    assert {p.doc_id: (p.label, p.relevant) for p in pairs} == {"d0": (3, True), "d1": (1, False)}


@pytest.mark.parametrize(("name", "figure"), [("scifact", 0.676), ("cranfield", 0.491)])
def test_bm25_gives_the_published_figures(shared: Path, name: str, figure: float) -> None:
    data = read_beir(shared / name, "test")
    run = {q: dict(ranked) for q, ranked in Bm25(data.passages).top(data.queries, 100).items()}
    found = evaluate(data.qrels, {"bm25": run}, ["nDCG@10"], 0)
    assert found.measures["bm25"]["nDCG@10"] == pytest.approx(figure, abs=0.005)


def test_long_passages_are_cut_for_pairs_and_evaluation_sets_alike(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train": POSITIVES, "test": POSITIVES})
    cut = settings(cut_words=4, negatives="none")
    pairs, _ = build(cut, 0, folder)
    assert {pair.passage for pair in pairs if pair.doc_id == "d0"} == {"fox The fox lives"}
    assert collection(cut, folder, 0, "test").passages["d1"] == "dog The dog lives"
    assert collection(settings(cut_words=9), folder, 0).passages["d1"] == "dog The dog lives in the wood number 1."
