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
    assert watch.decided and len(said) == ENOUGH and said[:-1] == [None] * (ENOUGH - 1)
    assert said[-1] and f"{alike} of the first {ENOUGH} answers" in said[-1] and ("WARNING" in said[-1]) == warns


def test_what_cannot_be_compared_does_not_count() -> None:
    watch = LabelAgreement(TeacherSettings(source="example"))
    pair = make_pair("q", "d", "query", "passage", label=1)
    watch.expect("unlabelled", replace(pair, label=None))
    assert not watch.awaits("unlabelled")
    for number, answer in enumerate((None, Answer("1", error="x: y"), Answer("2", content="who knows"))):
        watch.expect(str(number), pair)
        assert watch.see(str(number), answer) is None
    assert not watch.decided
