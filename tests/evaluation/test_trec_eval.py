"""Our measures are trec_eval's and mteb's to 1e-6, on rankings full of ties too, and however long the lists are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distill.evaluation.evaluate import evaluate
from distill.files.qrels import read_qrels
from distill.files.runs import ranked, read_run, write_run
from distill.statistics.measures import per_query, relevant_measures, without_grade

pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval is not installed")
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]
OURS = {  # ours: trec_eval's name
    "nDCG@10": "ndcg_cut_10", "nDCG": "ndcg", "AP": "map", "RR": "recip_rank", "R@100": "recall_100", "P@5": "P_5",
}  # fmt: skip


def trec_eval(qrels: Qrels, run: Run, name: str) -> dict[str, float]:
    """{query: value} by trec_eval's own code, 0 for what the run lacks."""
    family = {"ndcg_cut_10": "ndcg_cut.10", "recall_100": "recall.100", "P_5": "P.5"}.get(name, name)
    values = pytrec_eval.RelevanceEvaluator(qrels, {family}).evaluate(run)
    return {query: values.get(query, {}).get(name, 0.0) for query in qrels}


def cut(run: Run, depth: int) -> Run:
    return {query: dict(ranked(scores)[:depth]) for query, scores in run.items()}


def equal(found: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert found.keys() == expected.keys()
    assert all(abs(found[query] - expected[query]) <= 1e-6 for query in expected)


def tied(run: Run, steps: int) -> Run:
    """The run with its scores in so few steps that nearly every list has ties."""
    tops = {query: (min(scores.values()), max(scores.values())) for query, scores in run.items()}
    return {
        query: {doc: round((score - low) / ((high - low) or 1) * steps) * 1.0 for doc, score in scores.items()}
        for query, scores in run.items()
        for low, high in [tops[query]]
    }


def made(seed: int, queries: int = 40, depth: int = 60) -> tuple[Qrels, Run]:
    rng = random.Random(seed)
    docs = [f"d{number}" for number in range(300)] + ["é", "漢", "Z", "a b"]
    qrels = {f"q{n}": {doc: rng.choice((0, 0, 1, 2, 3)) for doc in rng.sample(docs, 30)} for n in range(queries)}
    run = {
        f"q{n}": {doc: rng.choice((0.5, 1.0, 1.0 + 1e-9, 2.0)) for doc in rng.sample(docs, depth)}
        for n in range(queries)
    }
    del run["q3"]
    run["q4"] = {"d1": 1.0}
    run["unjudged"] = {"d1": 1.0}
    return qrels, run


def check(qrels: Qrels, run: Run) -> None:
    found = per_query(qrels, run, [*OURS, "RR@10", "Judged@10"])
    for ours, theirs in OURS.items():
        equal(found[ours], trec_eval(qrels, run, theirs))
    equal(found["RR@10"], trec_eval(qrels, cut(run, 10), "recip_rank"))
    assert all(found["RR@10"][query] <= found["RR"][query] for query in qrels)
    tops = {query: list(scores) for query, scores in cut(run, 10).items()}
    shares = {q: sum(doc in qrels[q] for doc in tops.get(q, [])) / max(1, len(tops.get(q, []))) for q in qrels}
    equal(found["Judged@10"], shares)


@pytest.mark.parametrize("seed", range(5))
def test_made_rankings_full_of_ties(seed: int) -> None:
    check(*made(seed))


@pytest.mark.parametrize("seed", range(5))
def test_grades_below_0_are_in_the_pool_and_not_judged_as_in_trec_eval(seed: int) -> None:
    qrels, run = made(seed)
    rng = random.Random(seed)
    qrels = {q: {doc: rng.choice((grade, grade, -1, -2)) for doc, grade in by.items()} for q, by in qrels.items()}
    qrels["q5"] = dict.fromkeys(qrels["q5"], 0)
    check(qrels, run)
    found = per_query(qrels, run, ["Bpref", "infAP", "nDCG(judged_only=True)@10"])
    for ours, theirs in {"Bpref": "bpref", "infAP": "infAP"}.items():
        equal(found[ours], trec_eval(qrels, run, theirs))
    only = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}, judged_docs_only_flag=True).evaluate(run)
    equal(found["nDCG(judged_only=True)@10"], {query: only.get(query, {}).get("ndcg_cut_10", 0.0) for query in qrels})


def test_grades_below_0_of_a_small_list() -> None:
    """The values of trec_eval 9; 0 in place of -2 gives 0.25 and 0.5."""
    qrels, run = {"q": {"a": 1, "b": -2, "c": 0, "d": 1}}, {"q": {"b": 4.0, "a": 3.0, "c": 2.0, "d": 1.0}}
    found = per_query(qrels, run, ["Bpref", "infAP", "AP"])
    assert [round(found[name]["q"], 4) for name in ("Bpref", "infAP", "AP")] == [0.5, 0.6875, 0.5]
    junk = per_query({"q": {"a": -2, "b": -3}}, run, ["nDCG(judged_only=True)@10", "Bpref", "infAP", "P@5", "Judged@2"])
    assert [values["q"] for values in junk.values()] == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_rr_at_k_takes_the_same_place_of_a_tie_as_rr() -> None:
    """By ascending id `a` would come first, and RR@10 would exceed RR."""
    qrels, run = {"q": {"a": 1}}, {"q": dict.fromkeys("abcd", 1.0)}
    found = per_query(qrels, run, ["RR", "RR@10", "RR@3", "Judged@1", "nDCG@10"])
    assert [found[name]["q"] for name in ("RR", "RR@10", "RR@3", "Judged@1")] == [0.25, 0.25, 0.0, 0.0]
    qrels, run = {"q": {"d": 1}}, {"q": {**dict.fromkeys("abcd", 1.0), "e": 1.0 + 1e-12}}  # equal to 32-bit floats
    assert per_query(qrels, run, ["RR@10"])["RR@10"]["q"] == 0.5


def test_a_query_with_an_empty_list_counts_0() -> None:
    qrels = {"q": {"a": 1}, "r": {"b": 1}}
    names = ["nDCG@10", "nDCG(judged_only=True)@10", "RR@10", "AP", "Judged@10", "R@100"]
    found = evaluate(qrels, {"one": {"q": {"a": 1.0}, "r": {}}, "none": {"q": {}, "r": {}}}, names, 0)
    assert set(found.measures["one"].values()) == {0.5} and set(found.measures["none"].values()) == {0.0}


def test_a_written_run_is_read_back_in_the_same_order(tmp_path: Path) -> None:
    _, run = made(7)
    run = {query: {doc: score for doc, score in scores.items() if " " not in doc} for query, scores in run.items()}
    write_run(tmp_path / "run.trec", run, "x")
    again = read_run(tmp_path / "run.trec")
    assert {q: ranked(s) for q, s in again.items()} == {q: ranked(s) for q, s in run.items()}
    places = [(line.split()[0], line.split()[2]) for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert places == [(query, doc) for query in sorted(run) for doc, _ in ranked(run[query])]


RUNS = ("BM25", "D_BERT_KD_TASB", "SPLADE_P_P_ENSEMBLE_DISTIL")


@pytest.mark.parametrize("steps", [None, 5, 1])
@pytest.mark.parametrize("name", RUNS)
def test_dl19_as_it_is_and_with_ties(shared: Path, name: str, steps: int | None) -> None:
    qrels = read_qrels(shared / "dl19-passage" / "qrels" / "test.tsv")
    run = read_run(shared / "dl19-passage" / "runs" / f"{name}.top100.trec")
    check(qrels, tied(run, steps) if steps else run)


@pytest.mark.parametrize("steps", [None, 5])
def test_mteb_gives_the_same(shared: Path, steps: int | None) -> None:
    metrics: Any = pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="mteb is not installed")
    qrels = read_qrels(shared / "dl19-passage" / "qrels" / "test.tsv")
    run = read_run(shared / "dl19-passage" / "runs" / "BM25.top100.trec")
    against_mteb(metrics, qrels, tied(run, steps) if steps else run)


def test_mteb_gives_the_same_on_made_rankings() -> None:
    metrics: Any = pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="mteb is not installed")
    qrels, run = made(11)
    run = {query: {doc: round(score, 3) for doc, score in run[query].items()} for query in qrels if query in run}
    against_mteb(metrics, {query: qrels[query] for query in run}, run)


def against_mteb(metrics: Any, qrels: Qrels, run: Run) -> None:
    result = metrics.calculate_retrieval_scores(run, qrels, [10, 100])
    found = per_query(qrels, run, ["nDCG@10", "RR@10", "R@100", "P@10"])
    means = {name: sum(values.values()) / len(values) for name, values in found.items()}
    theirs = {
        "nDCG@10": result.ndcg["NDCG@10"], "RR@10": result.mrr["MRR@10"], "R@100": result.recall["Recall@100"],
        "P@10": result.precision["P@10"],
    }  # fmt: skip
    for name, value in theirs.items():
        assert means[name] == pytest.approx(value, abs=1e-5), name  # mteb rounds to five places


def test_measures_of_relevance_take_the_grade_from_which_a_run_counts_as_relevant() -> None:
    names = ["nDCG@10", "AP", "RR@10", "P(judged_only=True)@5", "R(rel=3)@100", "Judged@10"]
    graded = relevant_measures(names, 2)
    assert graded == [
        "nDCG@10",
        "AP(rel=2)",
        "RR(rel=2)@10",
        "P(judged_only=True,rel=2)@5",
        "R(rel=3)@100",
        "Judged@10",
    ]
    assert relevant_measures(names, 1) == names
    assert [without_grade(name) for name in graded[:4]] == names[:4] and without_grade(graded[4]) == "R@100"
    qrels, run = {"q": {"a": 1, "b": 2, "c": 0, "d": 3}}, {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}
    binary = {"q": {doc: int(grade >= 2) for doc, grade in qrels["q"].items()}}
    ours, theirs = per_query(qrels, run, graded[1:4]), per_query(binary, run, names[1:4])
    assert [ours[name]["q"] for name in graded[1:4]] == [theirs[name]["q"] for name in names[1:4]]
    assert ours["RR(rel=2)@10"]["q"] == 0.5
