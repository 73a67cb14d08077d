"""Teachers that grade: what counts as relevant is what their prompt says, and labels keep their own scale."""

from __future__ import annotations

import pytest
from filter_rows import TEXT, pair, reasons, sifted, trace

from distill.prompts import PROMPTS
from distill.records import Judgement
from filters.base import Tools

GRADED = '{"prompt": "graded_4"}'


@pytest.mark.parametrize("prompt", ["rank1", "graded_4", "graded_10"])
def test_a_grade_agrees_with_the_label_from_the_prompts_bound_on(prompt: str) -> None:
    scale = PROMPTS[prompt]
    for grade in range(len(scale.verdicts)):
        for label in range(4):
            one = pair(label, label=label, relevant_from=2)
            rows = [(one, trace(one, verdict=grade, teacher=f'{{"prompt": "{prompt}"}}'))]
            kept = sifted(rows, ["verdict_matches_label"]).kept
            assert bool(kept) == ((grade >= scale.relevant_from) == (label >= 2)), (grade, label)


def test_a_low_grade_is_told_in_the_teachers_words() -> None:
    one = pair(label=3, relevant_from=2)
    found = sifted([(one, trace(one, verdict=1, teacher=GRADED))], ["verdict_matches_label"])
    assert list(reasons(found).values()) == ["the teacher says one, the label says relevant"]


def test_disputes_relabelling_and_conclusions_read_grades() -> None:
    weak = pair(1, label=1)  # the label says relevant, grade 1 of 4 does not
    rows = [(weak, trace(weak, s, 1, teacher=GRADED)) for s in range(2)]
    (changed,) = sifted(rows, [{"label_dispute": {"policy": "relabel"}}]).changed.values()
    assert (changed.label, changed.label_before) == (0, 1)
    sure = TEXT + " Therefore the passage is relevant to the query."
    for grade, out in ((1, 1), (2, 0)):
        found = sifted([(weak, trace(weak, 0, grade, sure, teacher=GRADED))], ["self_contradiction"])
        assert len(found.rejected) == out


def test_the_first_rounds_student_is_compared_with_the_grade() -> None:
    def score(asked: list) -> list[Judgement]:  # type: ignore[type-arg]
        return [Judgement(p.query_id, p.doc_id, 0.9, 2.0, 1, "", "direct", 1, "stop") for p in asked]

    low, high = pair(1), pair(2)
    rows = [(low, trace(low, verdict=1, teacher=GRADED)), (high, trace(high, verdict=3, teacher=GRADED))]
    found = sifted(rows, ["self_filter"], Tools(score=score))  # type: ignore[arg-type]
    assert [t.pair_id for t in found.kept] == [high.pair_id]


def test_the_grade_closest_to_the_mean_is_kept() -> None:
    one = pair(label=3, relevant_from=2)
    rows = [(one, trace(one, n, grade, teacher=GRADED)) for n, grade in enumerate([4, 3, 3, 2])]
    assert [t.sample for t in sifted(rows, [{"consensus": {"keep": "closest"}}]).kept] == [1]
