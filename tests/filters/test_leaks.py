"""Leaks in other words and last sentences in another language are found; clean published traces are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from filter_rows import pair, reasons, sifted, trace

from filters.leak import Leak

BEFORE = "Okay, let me look at what the query wants. The passage begins with a remark on trade."
AFTER = "Going through it again, nothing contradicts this reading."


def lines(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("leaks.txt", "leak"), ("leaks_blind.txt", "leak"), ("leaks_blind_2.txt", "leak"), ("endings.txt", "language")],
)
def test_most_phrasings_are_found(name: str, kind: str) -> None:
    """`leaks_blind.txt` was written by somebody who had not seen the patterns, which found 10 of its 24; they were then
    widened by its kinds, so it is blind no longer. `leaks_blind_2.txt` was written in the same way and measured once
    after that: it still is. The other lists are by the author of the patterns."""
    given = lines(name)
    texts = [f"{BEFORE} {AFTER} {s}" if kind == "language" else f"{BEFORE} {s} {AFTER}" for s in given]
    pairs = [
        pair(n, query="how old is the bridge", passage=f"The bridge {n} dates from 1901.") for n in range(len(given))
    ]
    found = sifted([(p, trace(p, reasoning=t)) for p, t in zip(pairs, texts, strict=True)], [kind])
    out = {pair_id for pair_id, _ in reasons(found)}
    missed = [sentence for p, sentence in zip(pairs, given, strict=True) if p.pair_id not in out]
    assert len(given) >= 15 and len(missed) <= 0.2 * len(given), missed


@pytest.mark.parametrize(
    "sentence",
    [
        "The label on the bottle is described, which is what was asked.",
        "It makes a reference to the treaty, and the references in the text are dated.",
        "The passage matches the query, and the information provided in the passage is exact.",
        "So the passage is judged relevant by me, since the correct answer is in its second sentence.",
        "It says that the patient was told the diagnosis, and that is what the user asks.",
        "The rating of the hotel is given, and the verdict of the court as well.",
        "The passage gives an example, and in this example the answer is a number.",
    ],
)
def test_what_sounds_like_a_leak_and_is_none(sentence: str) -> None:
    one = pair(query="how old is the bridge", passage="The bridge dates from 1901.")
    assert sifted([(one, trace(one, reasoning=f"{BEFORE} {sentence} {AFTER}"))], ["leak", "language"]).rejected == []


# Query, passage and reasoning about labels, answer keys, raters and tests, and questions that are still open.
ABOUT_LABELS = [json.loads(line) for line in lines("about_labels.jsonl")]


@pytest.mark.parametrize("row", ABOUT_LABELS, ids=lambda row: row["query"])
def test_a_passage_about_labels_is_no_leak(row: dict[str, str]) -> None:
    one = pair(query=row["query"], passage=row["passage"])
    assert sifted([(one, trace(one, reasoning=row["reasoning"]))], ["leak", "language"]).rejected == []


def test_a_given_label_is_a_leak_even_on_a_passage_about_labels() -> None:
    one = pair(query="how to read a nutrition label", passage="A nutrition label gives the serving size.")
    for sentence in ("The label says relevant, so it fits.", "I was told that the label is true."):
        assert sifted([(one, trace(one, reasoning=f"{BEFORE} {sentence} {AFTER}"))], ["leak"]).rejected, sentence


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        (f"{BEFORE} It quotes", '"Der Text beantwortet die Frage leider nicht."'),
        (BEFORE, "So: no."),
        (BEFORE, "Der Turm wurde im Jahr 1901 gebaut."),
        (
            "Zuerst prüfe ich, wonach die Anfrage fragt. Der Abschnitt nennt das Baujahr.",
            "Daher ist er hilfreich und genau.",
        ),
        (BEFORE, "Hence: true\n\ntrue"),
        ("", "Le texte répond à la question posée."),
    ],
)
def test_endings_that_are_no_fault(text: str, ending: str) -> None:
    one = pair(query="Wann wurde der Turm gebaut?", passage="Der Turm wurde im Jahr 1901 gebaut. Er ist hoch.")
    assert reasons(sifted([(one, trace(one, reasoning=f"{text} {ending}"))], ["language"])) == {}


def test_an_english_ending_of_another_language_is_found_too() -> None:
    one = pair(query="Wann wurde der Turm gebaut?", passage="Der Turm ist hoch.")
    german = "Zuerst prüfe ich, wonach die Anfrage fragt und welche Bedingungen sie nennt. Es geht um ein Baujahr."
    (why,) = reasons(
        sifted([(one, trace(one, reasoning=f"{german} So the text does not say when."))], ["language"])
    ).values()
    assert why.startswith("the last sentence is in 'en', not in de: “So the text")


def test_the_search_of_a_column_passes_over_no_leak_of_the_lists() -> None:
    one = pair()
    texts = [*lines("leaks.txt"), *lines("leaks_blind.txt"), *(row["reasoning"] for row in ABOUT_LABELS)]
    looked = Leak().prefilter(pa.chunked_array([texts]))
    rejected = [Leak()(one, trace(one, reasoning=text)) is not None for text in texts]
    assert all(look for look, leak in zip(looked, rejected, strict=True) if leak) and not all(looked)


def test_clean_published_traces_are_kept(shared: Path) -> None:
    rows = []
    for name in ("diras_generalqa_gpt4_traces", "diras_chatreport_traces"):
        for line in (shared / "traces" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            one = pair(len(rows), query=row.get("query", ""), passage=row.get("passage", ""), label=None)
            rows.append((one, trace(one, reasoning=row["reasoning"] or "")))
    found = sifted(rows, ["leak", "language"])
    assert len(found.rejected) <= 0.002 * len(rows), list(reasons(found).values())


def test_real_leaks_of_another_teachers_rankings_are_found(shared: Path) -> None:
    """TFRank's pairwise traces, which were not read while the patterns were written."""
    rows = []
    for line in (shared / "traces" / "tfrank_pairwise_think.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["reasoning"]
        if "the reference" in text and "the reference to" not in text:
            one = pair(len(rows))
            rows.append((one, trace(one, reasoning=text)))
    assert len(rows) > 40 and len(sifted(rows, ["leak"]).rejected) >= 0.95 * len(rows)
