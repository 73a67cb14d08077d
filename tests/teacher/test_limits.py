"""Room at an endpoint, on a clock of our own."""

from __future__ import annotations

import pytest

from teacher.limits import Bucket, EndpointLimits


def turn(gauge: EndpointLimits, answers: int, refusals: int, latency_s: float = 0.1) -> None:
    """A number of answers and refusals."""
    for n in range(answers + refusals):
        if n * refusals // (answers + refusals) != (n + 1) * refusals // (answers + refusals):
            gauge.refused(None, 0.0)
        else:
            gauge.answered(latency_s, 0, 0)


def test_refusals_in_number_narrow_the_window_and_answers_widen_it_again() -> None:
    gauge = EndpointLimits(256, 60, None, None)
    turn(gauge, 100, 400)
    assert gauge.window < 100
    narrow = gauge.window
    turn(gauge, 2000, 0)
    assert narrow < gauge.window <= 256


def test_a_refusal_now_and_then_is_no_reason_to_starve() -> None:
    gauge = EndpointLimits(256, 60, None, None)
    turn(gauge, 9_500, 500)
    assert gauge.window == 256
    turn(gauge, 9_000, 1_000)  # two kinds of 429 in twenty each
    assert gauge.window == 256


def test_refusals_that_come_with_quick_faults_of_other_kinds_do_not_narrow_the_window() -> None:
    gauge = EndpointLimits(256, 60, None, None)
    for _ in range(60):  # as a burst begins: six requests, of which one is refused and one is answered soon
        gauge.refused(None, 0.0)
        for _ in range(3):
            gauge.failed(0.0)
        gauge.unanswerable()
        gauge.answered(0.1, 0, 0)
    turn(gauge, 200, 0)
    assert gauge.window == 256


def test_one_refusal_in_ten_lets_a_narrow_window_grow_again() -> None:
    gauge = EndpointLimits(256, 60, None, None)
    turn(gauge, 100, 400)
    turn(gauge, 9_000, 1_000)
    assert gauge.window == 256


def test_latency_counts_when_it_comes_near_the_deadline() -> None:
    slow, fine = EndpointLimits(64, 60, None, None), EndpointLimits(64, 60, None, None)
    turn(slow, 200, 0, latency_s=30)
    turn(fine, 200, 0, latency_s=10)
    assert slow.window < 64 and fine.window == 64


def test_when_most_is_refused_it_rests_as_long_as_it_asks() -> None:
    gauge = EndpointLimits(64, 60, None, None)
    for _ in range(8):  # an eighth of the window, without an answer between
        assert gauge.wait(100.0) == 0
        gauge.refused(7.0, 100.0)
    assert gauge.wait(100.0) == pytest.approx(7.0) and gauge.wait(107.5) == 0


def test_many_failures_in_a_row_are_the_endpoints_and_an_answer_ends_them() -> None:
    gauge = EndpointLimits(64, 60, None, None)
    blamed = [gauge.failed(0.0) for _ in range(20)]
    assert blamed == [False] * 8 + [True] * 12
    waits = gauge.wait(0.0)
    assert waits is not None and 0 < waits < 2 and gauge.must_probe
    gauge.answered(0.1, 0, 0)
    assert not gauge.must_probe and not gauge.failed(10.0)


def test_the_quick_failures_of_a_burst_are_no_reason_to_rest_and_an_answer_ends_a_rest() -> None:
    gauge = EndpointLimits(256, 60, None, None)
    for _ in range(256):
        gauge.started(1)
    for _ in range(60):
        gauge.in_flight -= 1
        assert not gauge.failed(0.0)
    assert gauge.wait(0.0) == 0
    for _ in range(60):
        gauge.in_flight -= 1
        gauge.failed(0.0)
    assert gauge.wait(0.0)
    gauge.answered(0.1, 0, 0)
    assert gauge.wait(0.0) == 0


def test_a_dead_endpoint_and_a_full_one_have_no_room() -> None:
    gauge = EndpointLimits(2, 60, None, None)
    gauge.started(1)
    assert gauge.wait(0.0) == 0
    gauge.started(1)
    assert gauge.wait(0.0) is None
    gauge.in_flight, gauge.dead = 0, "unauthorized"
    assert gauge.wait(0.0) is None


def test_a_bucket_lets_through_what_a_minute_bears() -> None:
    bucket, now, through = Bucket(600), 0.0, 0
    while now < 60:
        wait = bucket.wait(now)
        now += wait
        if now < 60 and wait == 0:
            bucket.spend(1)
            through += 1
    assert 590 <= through <= 612
    tokens = EndpointLimits(10, 60, None, 6_000)
    tokens.started(500)
    waits = tokens.wait(0.0)
    assert waits is not None and waits > 3.5
    tokens.answered(0.1, 500, 50)  # it was less than feared
    assert tokens.wait(0.0) == 0
