"""Pairwise accuracy, p-MRR and robustness@10: by hand, and equal to mteb's on whatever rankings there may be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.evaluation.contrast import p_mrr, pairwise_accuracy, robustness
from distill.statistics.measures import per_query

FROZEN = Path(__file__).parent / "mteb_values.json"
DOCS = ["d1", "d10", "d2", "d9", "e", "é"]
few = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # so that nearly every ranking has ties
fine = st.one_of(few, few.map(lambda x: x + 1e-12), st.floats(-3, 3).filter(lambda x: x == 0 or abs(x) > 1e-6))
scores = st.dictionaries(st.sampled_from(DOCS), fine, min_size=1)


def mean(values: dict[str, float]) -> float:
    return math.fsum(values.values()) / len(values)


@pytest.fixture(scope="module")
def mteb() -> Any:
    return pytest.importorskip("mteb._evaluators.retrieval_metrics", reason="mteb is not installed")


# --- by hand ----------------------------------------------------------------------------------------------------------

OWN = {"1_q1": "a", "1_q2": "b"}
GROUPS = {"1_q1": "1", "1_q2": "1"}


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ({"a": 2, "b": 1}, {"a": 1, "b": 2}, 1.0),
        ({"a": 2, "b": 1}, {"a": 2, "b": 1}, 0.0),
        ({"a": 1, "b": 1}, {"a": 1, "b": 2}, 0.0),  # a tie is a miss, on either side of the alphabet
        ({"a": 2, "b": 1}, {"a": 1, "b": 1}, 0.0),
        ({"a": 2, "b": 1}, {}, 0.0),
        ({"a": 1 + 1e-12, "b": 1}, {"a": 1, "b": 2}, 0.0),  # less apart than a 32-bit float can say
    ],
)
def test_a_pair_counts_only_when_both_queries_are_right(first: Any, second: Any, value: float) -> None:
    assert pairwise_accuracy(OWN, GROUPS, {"1_q1": first, "1_q2": second}) == {"1": value}


def test_p_mrr_by_hand() -> None:
    run = {"q-og": {"a": 3, "b": 2, "c": 1}, "q-changed": {"a": 1, "b": 2, "c": 3}}
    found = p_mrr({"q": ["a"]}, run)
    assert found == {"q": 1 - 1 / 3}  # from the first place to the third: it followed the instruction
    assert p_mrr({"q": ["c"]}, run) == {"q": 1 / 3 - 1}  # from the third to the first: the opposite of it
    assert p_mrr({"q": ["a", "c"]}, run)["q"] == pytest.approx(0)
    assert p_mrr({"q": ["a"], "r": ["a"]}, run)["r"] == 0  # without a ranking: as if nothing had moved
    assert p_mrr({"q": ["z"]}, run) == {"q": 0}  # lacking in both: one place behind the last


def test_robustness_is_the_worst_of_a_group() -> None:
    assert robustness({"a1": 0.5, "a2": 0.25, "b1": 1.0}, {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}) == {
        "a": 0.25,
        "b": 0.0,
    }


# --- against mteb -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(scores, scores, st.sets(st.sampled_from(DOCS), min_size=1)), min_size=1, max_size=5))
def test_p_mrr_is_mtebs(mteb: Any, rows: list[tuple[dict[str, float], dict[str, float], set[str]]]) -> None:
    og = {f"q{i}-og": before for i, (before, _, _) in enumerate(rows)}
    new = {f"q{i}-changed": after for i, (_, after, _) in enumerate(rows)}
    changed = {f"q{i}": sorted(docs) for i, (_, _, docs) in enumerate(rows)}
    assert mean(p_mrr(changed, {**og, **new})) == pytest.approx(mteb.calculate_pmrr(og, new, changed), abs=1e-9)


def mteb_scores(mteb: Any, qrels: Any, run: Any) -> Any:
    return mteb.calculate_retrieval_scores(run, qrels, [1, 10])[0]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.tuples(fine, fine)] * 2), min_size=1, max_size=6))
def test_pairwise_accuracy_is_mtebs(mteb: Any, rows: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """With ties broken by id it is mteb's; a tie as a miss is mteb's where a query's own passage has the least id."""
    for prefix, ties in (("z", "id"), ("a", "id"), ("a", "miss")):
        run, qrels, own, groups = {}, {}, {}, {}
        for i, pair in enumerate(rows):
            for n, (mine, other) in enumerate(pair, 1):
                query, passage = f"{i}_q{n}", f"{prefix}{i}doc{n}"
                run[query] = {passage: mine, f"m{i}": other}
                qrels[query], own[query], groups[query] = {passage: 1}, passage, str(i)
        theirs = mteb.paired_accuracy(qrels, run, mteb_scores(mteb, qrels, run))
        assert mean(pairwise_accuracy(own, groups, run, ties)) == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), scores, st.dictionaries(st.sampled_from(DOCS), st.integers(0, 3),
       min_size=1)), min_size=1, max_size=6))  # fmt: skip
def test_robustness_is_mtebs(mteb: Any, rows: list[tuple[int, dict[str, float], dict[str, int]]]) -> None:
    run = {f"{group}_{i}": ranking for i, (group, ranking, _) in enumerate(rows)}
    qrels = {f"{group}_{i}": labels for i, (group, _, labels) in enumerate(rows)}
    groups = {query: query.split("_")[0] for query in qrels}
    values = per_query(qrels, run, ["nDCG@10"])["nDCG@10"]
    theirs = mteb.robustness_at_10(qrels, run, mteb_scores(mteb, qrels, run))
    assert mean(robustness(values, groups)) == pytest.approx(theirs, abs=1e-9)


def test_frozen_values_of_mteb() -> None:
    """The same comparison where mteb is not installed; made by tests/evaluation/freeze_mteb.py."""
    cases = json.loads(FROZEN.read_text())["cases"]
    assert len(cases) >= 30
    for case in cases:
        if case["measure"] == "p-MRR":
            found = mean(p_mrr(case["changed"], case["run"]))
        elif case["measure"] == "robustness@10":
            values = per_query(case["qrels"], case["run"], ["nDCG@10"])["nDCG@10"]
            found = mean(robustness(values, {query: query.split("_")[0] for query in case["qrels"]}))
        else:
            own = {query: next(iter(labels)) for query, labels in case["qrels"].items()}
            groups = {query: query.split("_")[0] for query in own}
            found = mean(pairwise_accuracy(own, groups, case["run"], "id"))
        assert found == pytest.approx(case["value"], abs=1e-9)
