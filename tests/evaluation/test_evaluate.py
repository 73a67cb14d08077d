"""Measures are trec_eval's, intervals cover what they should, files are read and written without loss."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import ConfigError, DataError
from distill.evaluation.evaluate import evaluate
from distill.evaluation.measures import student_intervals, student_measures
from distill.files.runs import ranked, read_run, write_run
from distill.records import Judgement
from distill.statistics.measures import per_query

QRELS = {"q1": {"a": 1, "b": 0}, "q2": {"a": 2, "c": 1}, "q3": {"d": 1}}


def test_a_query_without_a_run_counts_as_nought() -> None:
    values = per_query(QRELS, {"q1": {"a": 1.0, "b": 0.5}}, ["nDCG@10"])["nDCG@10"]
    assert values == {"q1": 1.0, "q2": 0.0, "q3": 0.0}


def test_known_values_by_hand() -> None:
    run = {"q2": {"c": 2.0, "x": 1.5, "a": 1.0}}
    found = evaluate(QRELS, {"one": run}, ["nDCG@10", "RR@10", "Judged@2"], 0)
    dcg, ideal = 1 + 2 / 2, 2 + 1 / 1.584962500721156
    assert found.per_query["one"]["nDCG@10"]["q2"] == pytest.approx(dcg / ideal)
    assert found.per_query["one"]["Judged@2"]["q2"] == 0.5
    assert found.measures["one"]["RR@10"] == pytest.approx(1 / 3)


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(ConfigError, match="'nDGC@10' is not a measure"):
        per_query(QRELS, {}, ["nDGC@10"])


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = random.Random(0)
    covered = 0
    for trial in range(60):
        qrels = {f"q{i}": {"a": 1} for i in range(80)}
        run = {q: {"a": 1.0} if rng.random() < 0.7 else {"b": 1.0} for q in qrels}
        low, high = evaluate(qrels, {"one": run}, ["nDCG@10"], trial).intervals["one"]["nDCG@10"]
        covered += low <= 0.7 <= high
    assert covered >= 51


def test_differences_are_paired() -> None:
    rng = random.Random(1)
    qrels = {f"q{i}": {"a": 1} for i in range(50)}
    worse = {q: {"a": 1.0, "b": rng.choice([0.5, 2.0])} for q in qrels}
    better = {q: dict(scores) for q, scores in worse.items()}
    for q in sorted(qrels)[:10]:
        better[q]["b"] = 0.5
    found = evaluate(qrels, {"first_stage": worse, "student": better}, ["nDCG@10"], 0)
    assert found.differences["first_stage"]["nDCG@10"] == [0.0, 0.0]
    assert found.differences["student"]["nDCG@10"][0] >= 0.0


def test_runs_come_back_with_every_digit_and_in_order(tmp_path: Path) -> None:
    runs = {"q1": {"a": 0.1 + 0.2, "b": 0.30000000000000004, "c": -7.5}, "q2": {"x": 1e-17}}
    write_run(tmp_path / "one.trec", runs, "one")
    assert read_run(tmp_path / "one.trec") == runs
    assert [d for d, _ in ranked(runs["q1"])] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 a 1 0.5\n", r"run.trec:1: 5 columns"),
        ("q1 Q0 a 1 high tag\n", r"run.trec:1: the score 'high' is not a number"),
        ("q1 Q0 a 1 2 t\nq1 Q0 a 2 1 t\n", r"run.trec:2: passage 'a' is there twice"),
        ("", r"run.trec: is empty"),
    ],
)
def test_wrong_runs_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.trec").write_text(text)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "run.trec")


def test_the_dl19_bm25_run_exactly(shared: Path) -> None:
    from distill.files.qrels import read_qrels

    qrels = read_qrels(shared / "dl19-passage" / "qrels" / "test.tsv")
    path = next((shared / "dl19-passage" / "runs").glob("*[bB][mM]25.*"))
    found = evaluate(qrels, {"bm25": read_run(path)}, ["nDCG@10"], 0)
    assert round(found.measures["bm25"]["nDCG@10"], 4) == 0.5058


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([0.0, 0.5, 0.5 + 1e-12, 2.0]), min_size=1),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1),
    st.integers(1, 6),
)
def test_ndcg_is_trec_evals_formula(run: dict[str, float], labels: dict[str, int], k: int) -> None:
    """Gain by grade, discount by log2(rank + 1), the ideal over all that is judged; whatever the ties."""
    gains = [labels.get(doc, 0) for doc, _ in ranked(run)][:k]
    dcg, ideal = (
        sum(gain / math.log2(rank + 1) for rank, gain in enumerate(each, 1))
        for each in (gains, sorted(labels.values(), reverse=True)[:k])
    )
    found = per_query({"q": labels}, {"q": run}, [f"nDCG@{k}"])[f"nDCG@{k}"]["q"]
    assert found == pytest.approx(dcg / ideal if ideal else 0.0, abs=1e-12)


def judgement(doc: str, score: float, tokens: int = 10, finish: str = "stop") -> Judgement:
    return Judgement("q", doc, score, 0.0, int(score > 0.5), "", "think", tokens, finish)


def test_what_only_a_student_has() -> None:
    rows = [judgement("a", 0.9), judgement("b", 0.8), judgement("c", 0.1), judgement("hole", 1.0, 30, "length")]
    found = student_measures(rows, {"q": {"a": 1, "b": 0, "c": 0}})
    assert found["verdict_accuracy"] == round(2 / 3, 4)
    assert found["tokens_per_pair"] == 15.0 and (found["unfinished"], found["no_end"]) == (0.25, 0.0)
    assert found["ECE"] == round((abs(0.9 - 1) + 0.8 + 0.1) / 3, 4)


def test_an_answer_that_ends_early_is_not_one_that_was_cut_off() -> None:
    """A longer limit helps the one and not the other, so they are counted apart, with an interval each."""
    rows = [judgement("a", 0.9, finish=how) for how in ("stop", "length", "no_end", "no_end")]
    found = student_measures(rows, {"q": {"a": 1}})
    assert (found["unfinished"], found["no_end"]) == (0.25, 0.5)
    bounds = student_intervals(rows, {"q": {"a": 1}})
    assert bounds["unfinished"] == [0.25, 0.25] and bounds["no_end"] == [0.5, 0.5]
    assert bounds["tokens_per_pair"] == [10.0, 10.0] and bounds["verdict_accuracy"] == [1.0, 1.0]


def test_a_threshold_says_which_grades_a_true_verdict_fits() -> None:
    rows, qrels = [judgement("a", 0.9), judgement("b", 0.9)], {"q": {"a": 2, "b": 1}}
    assert student_measures(rows, qrels)["verdict_accuracy"] == 1.0
    assert student_measures(rows, qrels, relevant_from=2)["verdict_accuracy"] == 0.5


def test_intervals_of_what_only_a_student_has_are_over_queries() -> None:
    """Ten queries of twenty pairs that are all right or all wrong: as uncertain as ten answers, not as two hundred."""
    qrels = {f"q{n}": {f"d{m}": 1 for m in range(20)} for n in range(10)}
    rows = [
        Judgement(q, d, 0.9 if q < "q5" else 0.1, 0.0, int(q < "q5"), "", "think", 10 + int(q[1]), "stop")
        for q, docs in qrels.items()
        for d in docs
    ]
    found = student_intervals(rows, qrels)
    low, high = found["verdict_accuracy"]
    assert low <= 0.2 and high >= 0.8
    assert found["tokens_per_pair"][0] < 14.5 < found["tokens_per_pair"][1] and found["unfinished"] == [0.0, 0.0]
    values = student_measures(rows, qrels)
    assert all(bounds[0] <= values[name] <= bounds[1] for name, bounds in found.items())
    assert student_intervals([], qrels) == {}
