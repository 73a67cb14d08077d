"""A grade stays a grade from the source to every reader; `relevant_from` alone says what counts as relevant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.evaluation.measures import student_measures
from distill.pairs.build import build
from distill.pairs.settings import PairSettings
from distill.records import Judgement, Pair
from filters.settings import FilterSettings
from tests.filters.filter_rows import pair, sifted, trace
from tests.sft.kept import examples

GRADES = {"d0": 0, "d1": 1, "d2": 2, "d3": 3, "d4": -1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    docs = "".join(json.dumps({"_id": d, "text": f"passage {d}"}) + "\n" for d in GRADES)
    (tmp_path / "corpus.jsonl").write_text(docs)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "query"}\n')
    (tmp_path / "qrels" / "train.tsv").write_text("".join(f"q\t{d}\t{g}\n" for d, g in GRADES.items()))
    return tmp_path


def test_grades_are_kept_on_disk_with_what_they_mean(folder: Path, tmp_path: Path) -> None:
    pairs, counts = build(PairSettings.model_validate({"path": "x", "relevant_from": 2}), 0, folder)
    store.write_rows(tmp_path / "rows", pairs, Pair)
    found = {p.doc_id: (p.label, p.relevant) for p in store.read_rows(tmp_path / "rows", Pair)}
    assert found == {"d0": (0, False), "d1": (1, False), "d2": (2, True), "d3": (3, True), "d4": (0, False)}
    assert counts["relevant"] == 2 and counts["negative_grades"] == 1
    assert counts["by_grade"] == {"0": 2, "1": 1, "2": 1, "3": 1}


@pytest.mark.parametrize(
    ("label", "relevant_from", "relevant"), [(1, 1, True), (1, 2, False), (2, 2, True), (0, 1, False), (None, 2, None)]
)
def test_what_counts_as_relevant(label: int | None, relevant_from: int, relevant: bool | None) -> None:
    one = pair(label=label, relevant_from=relevant_from)
    assert one.relevant is relevant
    assert one.grade_of(1) == relevant_from and one.grade_of(0) == 0


def kept(one: Pair, verdict: int, filters: list[Any]) -> tuple[bool, dict[str, Pair]]:
    found = sifted([(one, trace(one, verdict=verdict))], filters)
    return bool(found.kept), dict(found.changed)


def test_filters_compare_with_the_threshold_and_not_with_nought() -> None:
    low = pair(1, label=1, relevant_from=2)
    assert kept(low, 0, ["verdict_matches_label"])[0] and not kept(low, 1, ["verdict_matches_label"])[0]
    assert kept(low, 0, ["label_dispute"])[0] and not kept(low, 1, ["label_dispute"])[0]
    high = pair(2, label=2, relevant_from=2)
    assert kept(high, 1, ["verdict_matches_label"])[0] and not kept(high, 0, ["verdict_matches_label"])[0]


def test_a_changed_label_stays_on_the_sources_scale() -> None:
    low = pair(1, label=1, relevant_from=2)
    relabel = [{"label_dispute": {"policy": "relabel"}}, "verdict_matches_label"]
    is_kept, changed = kept(low, 1, relabel)
    one = changed[low.pair_id]
    assert is_kept and (one.label, one.relevant, one.label_before, one.label_origin) == (2, True, 1, "vote")
    assert examples({one.pair_id: one}, [trace(one, verdict=0)], "direct")[0].completion.endswith(" true")
    under = pair(3, label=1, relevant_from=2, label_before=3, label_origin="human")
    assert examples({under.pair_id: under}, [trace(under, verdict=1)], "direct")[0].completion.endswith(" false")


def test_balance_counts_sides_by_the_threshold() -> None:
    rows = [(p, trace(p, verdict=0)) for p in (pair(n, label=1, relevant_from=2) for n in range(4))]
    high = pair(9, label=2, relevant_from=2)
    found = sifted([*rows, (high, trace(high))], [{"balance": {"negatives_per_positive": 2}}])
    assert len(found.kept) == 3
    assert FilterSettings.model_validate([{"balance": {"negatives_per_positive": 2}}])


def test_verdict_accuracy_is_measured_by_the_threshold() -> None:
    judgements = [Judgement("q", d, 0.9, 1.0, v, "", "direct", 1, "stop") for d, v in (("a", 0), ("b", 1))]
    qrels = {"q": {"a": 1, "b": 2}}
    assert student_measures(judgements, qrels, 2)["verdict_accuracy"] == 1.0
    assert student_measures(judgements, qrels, 1)["verdict_accuracy"] == 0.5
