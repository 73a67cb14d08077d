"""How often the first hundred answers agree with the labels is said once, with a warning below 6 in 10."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distill.records import Answer, make_pair
from teacher.agreement import ENOUGH, LabelAgreement
from teacher.settings import TeacherSettings


@pytest.mark.parametrize(("alike", "warns"), [(ENOUGH, False), (60, False), (59, True)])
def test_it_is_said_once_after_enough_answers(alike: int, warns: bool) -> None:
    watch = LabelAgreement(TeacherSettings(source="example"))
    pair = make_pair("q", "d", "query", "passage", label=1)
    said = []
    for number in range(ENOUGH + 50):
        watch.expect(str(number), pair)
        if watch.awaits(str(number)):
            answer = Answer(str(number), content="true" if number < alike else "false")
            said.append(watch.see(str(number), answer))
    assert watch.at_the_end() is None and len(said) == ENOUGH and said[:-1] == [None] * (ENOUGH - 1)
    assert said[-1] and f"{alike} of the first {ENOUGH} answers" in said[-1] and ("WARNING" in said[-1]) == warns


def test_what_cannot_be_compared_does_not_count() -> None:
    watch = LabelAgreement(TeacherSettings(source="example"))
    pair = make_pair("q", "d", "query", "passage", label=1)
    watch.expect("unlabelled", replace(pair, label=None))
    assert not watch.awaits("unlabelled")
    for number, answer in enumerate((None, Answer("1", error="x: y"), Answer("2", content="who knows"))):
        watch.expect(str(number), pair)
        assert watch.see(str(number), answer) is None
    assert watch.at_the_end() is None


def answered(verdicts: dict[tuple[int, str], int]) -> LabelAgreement:
    """After so many answers of each (label, verdict)."""
    watch = LabelAgreement(TeacherSettings(source="example"))
    of_each = [(label, verdict) for (label, verdict), count in verdicts.items() for _ in range(count)]
    for number, (label, verdict) in enumerate(of_each):
        watch.expect(str(number), make_pair("q", "d", "query", "passage", label=label))
        assert watch.see(str(number), Answer(str(number), content=verdict)) is None
    return watch


def test_a_teacher_that_always_says_no_is_not_taken_for_a_good_one() -> None:
    one_sided = answered({(1, "true"): 3, (1, "false"): 11, (0, "false"): 60}).at_the_end()
    assert one_sided and "WARNING: 63 of the first 74 answers agree" in one_sided
    assert "but only 3 of 14 about pairs that are labelled relevant" in one_sided and "distill view" in one_sided
    other = answered({(1, "true"): 60, (0, "true"): 11, (0, "false"): 3}).at_the_end()
    assert other and "only 3 of 14 about pairs that are labelled not relevant" in other


def test_a_small_run_says_it_at_its_end() -> None:
    watch = answered({(1, "true"): 9, (0, "false"): 9, (0, "true"): 2})
    assert watch.at_the_end() == "  18 of the first 20 answers agree with the labels"
    assert watch.at_the_end() is None, "said once"
    assert answered({(1, "true"): 9, (0, "false"): 10}).at_the_end() is None, "too few"
