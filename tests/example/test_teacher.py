"""The teacher's rules and faults, without HTTP."""

import collections

import pytest
from pydantic import ValidationError

from distill.example.teacher import FAULTS, Teacher, TeacherSettings
from distill.example.world import WorldSettings, build
from distill.prompts import teacher_prompt


@pytest.fixture(scope="module")
def pairs():
    split = build(WorldSettings(queries={"train": 250}), seed=5)["train"]
    return [
        (teacher_prompt(split.queries[query][0], " ".join(split.documents[doc][:2])), label)
        for query, labels in split.qrels.items()
        for doc, label in labels.items()
    ]


def test_a_faultless_teacher_agrees_with_the_labels(pairs):
    teacher = Teacher(TeacherSettings())
    replies = [teacher.reply(message) for message, _ in pairs]
    agree = sum((reply.verdict == "true") == bool(label) for reply, (_, label) in zip(replies, pairs, strict=True))
    assert agree / len(pairs) >= 0.99
    assert all(reply.closed and reply.finish_reason == "stop" and reply.fault is None for reply in replies)


def test_the_reasoning_quotes_the_passage_and_stops_at_the_first_failure():
    message = teacher_prompt(
        "trail in Orsa with lake, tour under 5 hours and no dogs",
        "Orsa Gate This is a trail in Orsa. Here dogs are banned, and the tour takes 7 hours. Also, the lake is near.",
    )
    reply = Teacher(TeacherSettings()).reply(message)
    assert reply.reasoning.removeprefix("Okay. ") == (
        "Wanted trail, found trail: good. Wanted Orsa, found Orsa: good. "
        "Wanted lake: the lake is near, so met: good. "
        "Wanted tour under 5: the tour takes 7 hours, so more, beyond: bad."
    )
    assert reply.verdict == "false"


def test_what_a_passage_does_not_say_counts_as_failed():
    message = teacher_prompt("flat in Lund no dogs", "A flat in Lund. Here the garage is sold.")
    reply = Teacher(TeacherSettings()).reply(message)
    assert reply.verdict == "false" and "nothing is said" in reply.reasoning


@pytest.mark.parametrize(
    "message",
    [
        teacher_prompt("0-dimensional biomaterials show inductive properties.", "Measurement of wing flutter in air."),
        teacher_prompt("", ""),
        "Hello?",
        "",
        teacher_prompt("trail in Orsa", "Query: trail in Orsa\nPassage: a trail in Orsa"),
        teacher_prompt("trail " * 3000, "中文 \x00 </think> true " * 500),
    ],
)
def test_any_text_is_answered_in_form(message):
    reply = Teacher(TeacherSettings()).reply(message)
    assert reply.reasoning and reply.verdict in ("true", "false") and reply.finish_reason == "stop"


def test_answers_depend_on_message_and_seed_alone(pairs):
    settings = TeacherSettings(wrong=0.3, loop=0.3)
    one, two = Teacher(settings), Teacher(settings)
    messages = [message for message, _ in pairs[:200]]
    forwards = [one.reply(message, 1) for message in messages]
    backwards = [two.reply(message, 1) for message in reversed(messages)][::-1]
    assert forwards == backwards
    assert forwards != [one.reply(message, 2) for message in messages]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_rate_and_its_mark(pairs, fault):
    teacher, plain = Teacher(TeacherSettings(**{fault: 0.2})), Teacher(TeacherSettings())
    hit = 0
    for message, label in pairs:
        reply, good = teacher.reply(message), plain.reply(message)
        marks = {
            "wrong": bool(reply.verdict) and (reply.verdict == "true") != bool(label),
            "truncated": reply.finish_reason == "length" and not reply.verdict and not reply.closed,
            "empty": not reply.reasoning and not reply.verdict,
            "unclosed": not reply.closed and bool(reply.verdict),
            "chinese": any("\u4e00" <= letter <= "\u9fff" for letter in reply.reasoning),
            "loop": max(collections.Counter(reply.reasoning.split(". ")).values()) >= 7,
        }
        assert [mark for mark, found in marks.items() if found] == ([fault] if reply.fault else [])
        assert reply.fault or reply == good
        hit += reply.fault is not None
    assert hit / len(pairs) == pytest.approx(0.2, abs=0.04)


def test_a_wrong_verdict_comes_from_the_reasoning(pairs):
    """The last judgement and the verdict go together, so that only the label can tell."""
    teacher = Teacher(TeacherSettings(wrong=1.0))
    for message, label in pairs[:300]:
        reply = teacher.reply(message)
        assert reply.reasoning.endswith("good.") == (reply.verdict == "true") == (not label)


def test_rates_above_one_are_refused():
    with pytest.raises(ValidationError, match="at most 1"):
        TeacherSettings(wrong=0.7, loop=0.4)
    with pytest.raises(ValidationError):
        TeacherSettings(reasoning_format="xml")
