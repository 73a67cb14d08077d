"""Graded verdicts: one scale for teacher, student and score, beside true and false."""

from __future__ import annotations

import pytest

from distill.prompts import PROMPTS, completion, is_relevant, student_prompt, verdict_ids
from distill.records import Trace, make_pair
from distill.verdicts import parse_verdict
from sft.scratch import train_tokenizer
from tests.sft.kept import examples


@pytest.mark.parametrize(
    ("content", "prompt", "grade"),
    [
        ("three", "graded_4", 3),
        ("**Three**.", "graded_4", 3),
        ("3", "graded_4", 3),
        ("3/4", "graded_4", 3),
        ("It is about half of it.\n\nGrade: two", "graded_4", 2),
        ("The answer is zero", "graded_4", 0),
        ("ten", "graded_4", None),
        ("ten", "graded_10", 10),
        ("10", "graded_10", 10),
        ("11", "graded_10", None),
        ("two or three", "graded_4", None),
        ("two\nIn the end: score: four", "graded_4", None),
        ("true", "graded_4", None),
        ("", "graded_10", None),
        ("three", "rank1", None),
        ("true", "rank1", 1),
    ],
)
def test_a_grade_is_read_where_it_is_said_plainly(content: str, prompt: str, grade: int | None) -> None:
    assert parse_verdict(content, prompt) == grade


def test_the_prompt_names_its_whole_scale_and_the_student_writes_one_of_it() -> None:
    for name, top in (("graded_4", "four"), ("graded_10", "ten")):
        assert top in student_prompt("q", "p", None, name)
        words = [
            completion("direct", "", grade, name).rpartition(" ")[2] for grade in range(len(PROMPTS[name].verdicts))
        ]
        assert len(set(words)) == len(PROMPTS[name].verdicts) and words[-1] == top
        assert [parse_verdict(word, name) for word in words] == list(range(len(words)))
        with pytest.raises(ValueError, match="beyond the scale"):
            completion("direct", "", len(words), name)


def test_half_of_the_scale_is_relevant() -> None:
    assert [is_relevant(grade, "graded_4") for grade in range(5)] == [False, False, True, True, True]
    assert [is_relevant(grade) for grade in (0, 1)] == [False, True]


def test_every_grade_is_one_token_or_the_tokenizer_is_refused() -> None:
    texts = ["nothing but some words of no use"] * 3
    fit = train_tokenizer(texts, 420, verdicts=PROMPTS["graded_10"].verdicts)
    ids = verdict_ids(fit, "graded_10")
    assert len(set(ids)) == 11 and fit.decode([ids[7]]) == " seven"
    plain = train_tokenizer(texts, 320)
    false, true = verdict_ids(plain)
    assert (plain.decode([false]), plain.decode([true])) == (" false", " true")
    with pytest.raises(ValueError, match="' zero' after </think> is .*not one token of its own"):
        verdict_ids(plain, "graded_4")


def test_a_changed_label_moves_a_grade_to_its_side_and_no_further() -> None:
    def written(label: int, verdict: int | None) -> str:
        pair = make_pair("q", "d", "query", "passage", label=label, label_before=1 - label, label_origin="human")
        trace = Trace(pair.pair_id, 0, "r", "because", "", verdict, "stop", 1, 1, 0.0, 0.0, "{}")
        (row,) = examples({pair.pair_id: pair}, [trace], "direct", "graded_4")
        return row.completion.rpartition(" ")[2]

    assert [written(1, 0), written(1, 3), written(1, None)] == ["two", "three", "four"]
    assert [written(0, 4), written(0, 1), written(0, None)] == ["one", "one", "zero"]
