"""What is called significant: known values, error rates that are what they say, and scipy as the second opinion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import ConfigError
from distill.evaluation.evaluate import summarise
from distill.results import as_json
from distill.statistics.significance import bootstrap_p, holm, randomisation_p, resampled_means


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_corrects_upwards_and_keeps_the_order(values: list[float]) -> None:
    found = holm(values)
    assert all(before <= after <= 1 for before, after in zip(values, found, strict=True))
    order = sorted(range(len(values)), key=lambda at: values[at])
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(order))


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=3, max_size=9))
def test_randomisation_is_near_all_sign_flips(values: list[float]) -> None:
    """For few units all 2^n flips can be had: the p of 10,000 random ones lies near theirs."""
    differences = np.array(values)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    whole = float((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).mean())
    assert randomisation_p(differences[:, None], 0)[0] == pytest.approx(whole, abs=0.03)


def test_equal_systems_are_seldom_called_different() -> None:
    """400 comparisons of two systems that differ by noise alone: about 5 % come out below 0.05, by either test."""
    rng = np.random.default_rng(3)
    apart = rng.normal(0, 1, (50, 400)) * (rng.random((50, 400)) < 0.6)
    assert 0.02 <= np.mean(np.array(randomisation_p(apart, 0)) < 0.05) <= 0.09
    means = resampled_means(apart, 0)
    assert 0.02 <= np.mean([bootstrap_p(means[:, at]) < 0.05 for at in range(400)]) <= 0.11


def test_a_clear_difference_is_found_and_none_is_none() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(80)
    units = [f"q{n}" for n in range(80)]

    def system(values: np.ndarray) -> dict[str, dict[str, float]]:
        return {"nDCG@10": dict(zip(units, map(float, values), strict=True))}

    found = summarise({"a": system(base), "same": system(base), "better": system(base + rng.normal(0.1, 0.1, 80))}, 0)
    same, better = found.tests["same"]["nDCG@10"], found.tests["better"]["nDCG@10"]
    assert as_json(same) == {"difference": 0.0, "p_bootstrap": 1.0, "p_randomisation": 1.0, "p_holm": 1.0}
    assert better.p_holm == pytest.approx(2 * better.p_randomisation) and better.p_holm < 0.001
    assert "a" not in found.tests and found.baseline == "a"
    turned = summarise({"a": system(base), "better": system(base + 0.1)}, 0, baseline="better")
    assert turned.tests["a"]["nDCG@10"].difference == pytest.approx(-0.1)
    with pytest.raises(ConfigError, match="'c' is none of the systems a"):
        summarise({"a": system(base)}, 0, baseline="c")


def test_measures_of_different_units_stand_side_by_side() -> None:
    values = {
        "a": {"nDCG@10": {"q1": 0.5, "q2": 0.7}, "p-MRR": {"q": 0.1}},
        "b": {"nDCG@10": {"q1": 0.5, "q2": 0.9}},
    }
    found = summarise(values, 0)
    assert found.measures == {"a": {"nDCG@10": 0.6, "p-MRR": 0.1}, "b": {"nDCG@10": 0.7}}
    assert found.intervals["a"]["p-MRR"] == [0.1, 0.1] and "p-MRR" not in found.tests["b"]
