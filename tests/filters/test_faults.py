"""Each fault is caught by the filter meant for it, and sound traces are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import filter_faults as faults
import pytest
from filter_rows import pair, reasons, sifted, trace

from distill.example.teacher import Teacher, TeacherSettings
from distill.prompts import teacher_prompt
from distill.records import Pair, Trace
from filters.degenerate import Degenerate
from filters.language import Language
from filters.leak import Leak
from filters.settings import DEFAULT

ALL = [*DEFAULT, "self_contradiction"]
MEANT_FOR = {
    "loop": {"degenerate"}, "copy": {"degenerate"}, "foreign": {"language"}, "leak": {"leak"},
    "empty": {"has_reasoning"},
    "wrong": {"verdict_matches_label"}, "truncated": {"finished", "parses"}, "opposed": {"self_contradiction"},
}  # fmt: skip


@pytest.mark.parametrize("kind", MEANT_FOR)
def test_a_fault_is_caught_by_its_filter(kind: str) -> None:
    found = sifted(list(faults.seeded(kind)), ALL)
    caught = sum(row.filter in MEANT_FOR[kind] for row in found.rejected)
    assert caught >= 0.95 * 300, [t.reasoning[-200:] for t in found.kept[:5]]


def test_sound_traces_are_kept() -> None:
    found = sifted(list(faults.sound(1000)), ALL)
    assert len(found.rejected) <= 0.02 * 1000, list(reasons(found).values())[:5]


def test_real_sound_traces_are_kept(shared: Path) -> None:
    """TFRank's and GPT-4's published reasons: none is degenerate or in another language."""
    rows = []
    for name in ("tfrank_pointwise_think", "diras_generalqa_gpt4_traces"):
        for line in (shared / "traces" / f"{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            one = pair(len(rows), query=row["query"], passage=row["passage"], label=None)
            rows.append((one, trace(one, verdict=int(row["verdict"] == "yes"), reasoning=row["reasoning"])))
    found = sifted(rows, ["has_reasoning", "degenerate", "language", "self_contradiction"])
    assert len(found.rejected) <= 0.002 * len(rows), list(reasons(found).values())[:5]


def test_real_malformed_outputs_are_caught(shared: Path) -> None:
    """The six Phi-3 outputs without a verdict, two of them runs of one digit, and the leaks in TFRank's traces."""
    rows = [json.loads(line) for line in (shared / "traces" / "diras_chatreport_traces.jsonl").read_text().splitlines()]
    broken = [row for row in rows if row["verdict"] is None]
    given = []
    for number, row in enumerate(broken):
        one = pair(number, label=None)
        given.append((one, trace(one, verdict=None, reasoning=row["raw_output"], finish_reason="length")))
    assert len(sifted(given, ["finished"]).rejected) == len(sifted(given, ["parses"]).rejected) == 6
    runs = [(one, each) for one, each in given if "00000000" in each.reasoning]
    assert len(sifted(runs, ["degenerate"]).rejected) == len(runs) == 2
    leaks = [json.loads(line) for line in (shared / "traces" / "tfrank_pointwise_think.jsonl").read_text().splitlines()]
    told = [
        row for row in leaks if "reference assessment" in row["reasoning"] or "reference answer" in row["reasoning"]
    ]
    found = [
        Leak()(pair(query=r["query"], passage=r["passage"]), trace(pair(), reasoning=r["reasoning"])) for r in told
    ]
    assert len(told) >= 20 and all(found)


@pytest.mark.parametrize(("fault", "filters"), [("chinese", ["language"]), ("loop", ["degenerate"])])
def test_the_examples_teacher_is_seen_through(fault: str, filters: list[str]) -> None:
    """Faults that another hand wrote, on traces much shorter than R1's."""
    rows: dict[float, list[tuple[Pair, Trace]]] = {1.0: [], 0.0: []}
    for number in range(150):
        one = pair(
            number,
            query=f"hut with a view number {number}",
            passage=f"The hut of number {number} has a view. It is warm.",
        )
        for rate, given in rows.items():
            reply = Teacher(TeacherSettings(**{fault: rate})).reply(teacher_prompt(one.query, one.passage), number)
            given.append((one, trace(one, reasoning=reply.reasoning)))
    assert len(sifted(rows[1.0], filters).rejected) >= 143 and len(sifted(rows[0.0], filters).kept) >= 147


GERMAN = [
    "Zuerst prüfe ich, wonach die Anfrage fragt und welche Bedingungen sie nennt.",
    "Der Abschnitt beschreibt die Geschichte der Brücke, aber nicht ihre Tragfähigkeit.",
    "Außerdem wird das Baujahr erwähnt, was hier keine Rolle spielt.",
    "Daher beantwortet der Text die Frage nicht, obwohl er beim Thema bleibt.",
]
CHINESE = [
    "首先，我需要弄清楚查询想要了解什么内容。", "这段文字介绍了大桥的历史，但没有说明它的承重能力。",
    "此外还提到了建造年份，这里并不重要。", "因此，这段文字没有回答这个问题。",
]  # fmt: skip
ENGLISH = [
    "First I check what the query asks and which conditions it sets.",
    "The passage describes the history of the bridge, but not the load that it bears.",
    "It also names the year in which it was built, which does not matter here.",
    "So the text does not answer the question, although it stays on the topic.",
]


@pytest.mark.parametrize(("expect", "sound", "stray"), [
    ("de", GERMAN, ENGLISH), ("zh", CHINESE, GERMAN), ("en", ENGLISH, GERMAN), ("query", GERMAN, ENGLISH),
    ("zh", CHINESE, ENGLISH),
])  # fmt: skip
def test_switches_of_language_are_seen(expect: str, sound: list[str], stray: list[str]) -> None:
    rule = Language.model_validate({"expect": expect})
    one = pair(query="Wie viele Tonnen trägt die alte Brücke über den Fluss?", passage="Die Brücke ist alt.")
    assert rule(one, trace(one, reasoning=" ".join(sound))) is None
    for at in range(len(sound)):
        for piece in stray:
            mixed = " ".join([*sound[:at], piece, *sound[at:]])
            assert rule(one, trace(one, reasoning=mixed)), (expect, piece)


def test_a_trace_may_reason_in_english_about_a_german_query_and_quote_it() -> None:
    one = pair(query=GERMAN[0], passage=" ".join(GERMAN[1:]))
    quoting = f'{ENGLISH[0]} It says "{GERMAN[1]}" and later: {GERMAN[2]} {ENGLISH[3]}'
    assert Language(expect=["en"])(one, trace(one, reasoning=quoting)) is None
    assert Language(expect=["de", "en"])(one, trace(one, reasoning=" ".join(GERMAN[:2] + ENGLISH[2:]))) is None


def test_what_query_and_passage_say_is_not_a_fault() -> None:
    chinese = pair(query="what does 查询 mean", passage="The word 查询 is Chinese for query.")
    assert (
        Language()(chinese, trace(chinese, reasoning="It explains 查询, which is asked for. α and µ are symbols."))
        is None
    )
    label = pair(query="what is a ground truth label", passage="A ground truth label is what annotators give.")
    assert Leak()(label, trace(label, reasoning="The passage says what a ground truth label is.")) is None
    listed = pair(passage="one two three four " * 50)
    assert (
        Degenerate()(listed, trace(listed, reasoning="It lists the numbers from one to four, many times over.")) is None
    )


def test_the_words_that_leak_looks_for_are_in_every_leak() -> None:
    """The glance at a whole column passes over no trace that the filter would put out."""
    import pyarrow as pa

    rows = [*faults.seeded("leak"), *faults.sound(100)]
    column = pa.chunked_array(
        [[t.reasoning.swapcase() if n % 3 == 0 else t.reasoning for n, (_, t) in enumerate(rows)]]
    )
    rule = Leak.model_validate({"of": ["label", "model", "prompt"]})
    looked = rule.prefilter(column)
    for (one, each), text, look in zip(rows, column.to_pylist(), looked, strict=True):
        assert look or rule(one, trace(one, reasoning=text)) is None, each.reasoning
    assert 0 < sum(looked) < len(rows)
