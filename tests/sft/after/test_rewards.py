"""The rewards, on answers whose value can be said by hand; the gradient that `brier` gives; one's own by a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill import rewards
from distill.errors import PluginError
from sft.after.check import try_rewards
from sft.after.train import reward_function
from sft.settings import SftSettings
from tests.docs_page import ROOT, blocks

WORDS = [" false", " true"]
GOOD = "\nthe passage names it\n</think> true"


def columns(**given: list[Any]) -> dict[str, Any]:
    count = len(next(iter(given.values())))
    return {"words": [WORDS] * count, **given}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (GOOD, 1),
        ("\nno word of it\n</think> false\n", 0),
        ("\nthe passage names it\n</think> true and more", None),
        ("\nthe passage names it", None),
        ("\n</think> true", None),
        ("\na\n</think> true</think> true", None),
        ("\na <think>\n</think> true", None),
    ],
)
def test_an_answer_is_well_formed_or_has_no_verdict(answer: str, verdict: int | None) -> None:
    assert rewards.verdict_of(answer, WORDS) == verdict
    assert rewards.form(**columns(completions=[answer])) == [float(verdict is not None)]


def test_the_verdict_counts_by_its_distance_from_the_grade() -> None:
    scale = [" zero", " one", " two"]
    answers = ["\na\n</think> two", "\na\n</think> one", "\na\n</think> zero", "\na"]
    got = rewards.verdict(completions=answers, grade=[2] * 4, words=[scale] * 4)
    assert got == [1.0, 0.5, 0.0, 0.0]


def test_length_falls_beyond_its_budget_alone() -> None:
    ids = [[0] * 10, [0] * 15, [0] * 40]
    assert rewards.length(completion_ids=ids, length_budget=[10] * 3) == [0.0, -0.5, -1.0]


@pytest.mark.parametrize(("label", "p"), [(1.0, 0.9), (1.0, 0.2), (0.0, 0.3), (0.0, 0.97)])
def test_brier_is_the_score_in_the_mean_and_its_gradient_at_the_verdict(label: float, p: float) -> None:
    answers = ["\na\n</think> false", "\na\n</think> true"]
    false, true = rewards.brier(**columns(completions=answers, label=[label] * 2, p_true=[p] * 2))
    assert (1 - p) * false + p * true == pytest.approx(1 - (label - p) ** 2)
    # d/dp of the expected reward, the drawn verdict's chances being p and 1 - p: that of 1 - (label - p)^2
    assert true - false == pytest.approx(2 * (label - p))


def test_a_relevant_answer_wins_against_the_other_side_of_its_own_query_alone() -> None:
    got = rewards.pairwise(query_id=["a", "a", "a", "b"], label=[1.0, 0.0, 0.0, 1.0], p_true=[0.6, 0.2, 0.8, 0.1])
    assert got == [0.5, 1.0, 0.0, 0.5]
    assert rewards.pairwise(query_id=["a", "a"], label=[1.0, 0.0], p_true=[None, 0.3]) == [0.0, 0.0]


def test_group_rank_is_the_reciprocal_rank_among_the_others_of_the_query() -> None:
    got = rewards.group_rank(
        query_id=["a"] * 4 + ["b"], label=[1.0, 1.0, 0.0, 0.0, 0.0], p_true=[0.9, 0.4, 0.5, 0.6, 0.99]
    )
    assert got == [1.0, pytest.approx(1 / 3), 0.0, 0.0, 0.0]


def test_the_reward_of_the_docs_counts_short_queries_double(tmp_path: Path) -> None:
    (block,) = (each for each in blocks(ROOT / "docs" / "after-sft.md") if each.language == "python")
    (tmp_path / "short.py").write_text(block.text, encoding="utf-8")
    given = columns(completions=[GOOD, GOOD], grade=[1, 1], query=["red hat", "a very long red hat"])
    assert reward_function(f"{tmp_path / 'short.py'}:short_queries")(**given) == [2.0, 1.0]


def test_ones_own_reward_is_a_function_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def short_queries(completions, query, **columns):\n"
        "    return [2.0 if len(q.split()) < 3 else 1.0 for q in query]\n"
        "def wrong(completions, **columns):\n    return [1.0]\n"
        "def broken(completions, **columns):\n    return completions[0].nothing\n"
        "def some(completions, **columns):\n    return [None, 1]\n"
    )
    given = {"completions": ["x", "y"], "query": ["red hat", "a very long red hat"]}
    assert reward_function(f"{path}:short_queries")(**given) == [2.0, 1.0]
    assert reward_function(f"{path}:some")(**given) == [None, 1.0]  # as in TRL: it does not apply to the first
    with pytest.raises(PluginError, match="return a list of 2 numbers"):
        reward_function(f"{path}:wrong")(**given)
    with pytest.raises(PluginError, match=r"own\.py, line 6 raised AttributeError"):
        reward_function(f"{path}:broken")(**given)
    with pytest.raises(PluginError, match="has no function 'missing' for a reward; it has short_queries"):
        reward_function(f"{path}:missing")


def test_ones_own_rewards_are_tried_before_anything_is_paid(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def all_columns(completions, completion_ids, prompts, pair_id, query_id, query, passage, instruction, grade,\n"
        "                label, words, length_budget, p_true, **columns):\n    return [1.0 for _ in completions]\n"
        "def broken(completions, **columns):\n    return [verdct(text) for text in completions]\n"
    )

    def settings(function: str) -> SftSettings:
        then = {"method": "grpo", "reward": {f"{path}:{function}": 1.0, "form": 1.0}}
        return SftSettings.model_validate({"targets": [{"target": "think", "then": then}]})

    try_rewards(settings("all_columns"))
    with pytest.raises(PluginError, match=r"own\.py, line 5 raised NameError"):
        try_rewards(settings("broken"))
