"""Numbers, texts, charts and differences, as the report writes them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.evaluation.evaluate import summarise
from distill.report import words
from distill.report.evaluated import paired
from distill.report.page import embedded
from distill.report.plots import curves, running_mean, thinned


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 3, "33 %"), (0, 5, "0 %"), (5, 5, "100 %"), (9999, 10000, "99.9 %"), (1, 100000, "0.1 %"), (1, 0, "–")],
)
def test_percent_never_rounds_to_all_or_nothing(part: int, whole: int, text: str) -> None:
    assert words.percent(part, whole).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (59.4, "59 s"), (59.7, "1 min 00 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (1, "1.000"), (41.26, "41.3"), (21493.2, "21,493"), (math.nan, "–"), (None, "–"), (True, "–")],
)
def test_measure(value: object, text: str) -> None:
    assert words.measure(value) == text


def test_a_difference_too_small_to_show_has_no_sign() -> None:
    assert words.signed(0.0001) == "0.000" and words.signed(-0.25) == "−0.250" and words.signed(0.25) == "+0.250"


def test_colours_belong_to_systems_not_to_their_order() -> None:
    assert words.colours(["think", "x", "direct"])["direct"] == words.colours(["direct"])["direct"]
    assert len(set(words.colours(["think", "direct", "a", "b", "c"]).values())) == 5


@given(st.text(), st.integers(1, 50))
def test_cut_texts_are_bounded_and_printable(text: str, length: int) -> None:
    shown = words.cut(text, length)
    assert len(shown) <= length + 40
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not any(ord(c) < 32 and c not in "\n\t\r" for c in shown)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e9, 1e9)), max_size=900))
def test_thinned_points_and_running_means_stay_within_their_range(points: list[tuple[float, float]]) -> None:
    thin = thinned(sorted(points))
    assert len(thin) <= 400 and bool(thin) == bool(points)
    if points:
        ys, means = [y for _, y in points], [y for _, y in thin] + list(running_mean(np.array([y for _, y in thin])))
        slack = 1e-9 * max(1.0, *map(abs, ys))
        assert min(ys) - slack <= min(means) and max(means) <= max(ys) + slack and thin[-1][0] == max(points)[0]


def test_a_chart_has_axes_names_and_the_pages_colours_in_few_bytes() -> None:
    points = [(float(n), 1 / (n + 1)) for n in range(1, 900)]
    chart = curves("step", {"think": [*points, (900.0, math.nan)], "direct": [(1.0, 0.25)]}, "Loss", students=True)
    assert chart is not None and len(chart) < 25_000
    for wanted in (
        ">step<",
        ">Think 0.001<",
        ">Direct 0.250<",
        "var(--c3)",
        "var(--c2)",
        'aria-label="Loss against step"',
    ):
        assert wanted in chart, wanted
    assert "style=" not in chart and "#" not in chart and "nan" not in chart
    assert curves("step", {"think": [(1.0, math.inf)], "direct": []}, "Loss") is None


def test_paired_differences_know_certainty_from_chance() -> None:
    left = {f"q{n}": (n * 37 % 101) / 101 for n in range(100)}
    sure = paired(left, {query: value + 0.1 for query, value in left.items()})
    assert sure is not None and sure.low == pytest.approx(0.1) == pytest.approx(sure.high) and sure.wins == 100
    chance = paired(left, {query: value + (0.1 if n % 2 else -0.1) for n, (query, value) in enumerate(left.items())})
    assert chance is not None and chance.low < 0 < chance.high and chance.wins == chance.losses == 50
    assert paired(left, {"other": 1.0}) is None


def test_the_reports_interval_is_the_evaluations() -> None:
    left = {f"q{n}": (n * 37 % 101) / 101 for n in range(60)}
    right = {query: (value * 7) % 1 for query, value in left.items()}
    result = summarise({"left": {"nDCG@10": left}, "right": {"nDCG@10": right}}, seed=3)
    difference = paired(left, right, seed=3)
    assert difference is not None
    assert [difference.low, difference.high] == pytest.approx(result.differences["right"]["nDCG@10"], abs=1e-6)


@given(st.text())
def test_embedded_json_cannot_leave_its_script(text: str) -> None:
    shown = embedded({"a": text})
    assert not set("<>&\u2028\u2029") & set(shown)
    assert json.loads(shown)["a"] == text.encode("utf-8", "replace").decode()
