"""What is taken out before anything is asked; parts that share no query; copies of evaluation sets and light edits."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import ConfigError
from distill.pairs.analysis import Analysis
from distill.pairs.build import build
from distill.pairs.clean import Leaks, Usable, nearly_equal, normalised, word_grams
from distill.pairs.collection import Collection
from distill.pairs.settings import CleanSettings, PairSettings
from distill.pairs.split import part_of_each, signature

# --- texts ------------------------------------------------------------------------------------------------------------


def usable(passages: dict[str, str], **wanted: Any) -> Usable:
    return Usable(Collection(passages, {}, {}), CleanSettings.model_validate(wanted))


def test_empty_giant_foreign_and_repeated_texts() -> None:
    found = usable(
        {
            "empty": " \n ",
            "giant": "word " * 500,
            "german": "Der schnelle braune Fuchs springt über den faulen Hund, und niemand weiß, warum er das tut.",
            "english": "The quick brown fox jumps over the lazy dog, and nobody knows why it does that at all.",
            "shouted": "THE quick, brown fox jumps over the lazy dog: and nobody knows why it does that at all",
            "short": "Ja.",
        },
        max_words=400,
        languages="en",
    )
    assert found.bad == {"empty": "empty", "giant": "too long", "german": "language"}
    assert found.first_of == {"shouted": "english"}
    assert found.counts() == {"empty": 1, "too long": 1, "language": 1, "repeated": 1}


def test_near_duplicates_of_the_whole_corpus() -> None:
    words = [f"word{i}" for i in range(60)]
    twin = " ".join([*words[:58], "other", "words"])
    found = usable({"a": " ".join(words), "b": twin, "c": " ".join(reversed(words))}, near_duplicates=0.7)
    assert found.first_of == {"b": "a"} and found.same("b") == "a" == found.same("a")


@settings(deadline=None)
@given(st.text(st.one_of(st.sampled_from("-−#<>≤≥$€£¥+%a1() b.\n"), st.characters())))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


MEANT = [
    "C++ tutorial",
    "C# tutorial",
    "C tutorial",
    "A+",
    "A-",
    "A",
    "5%",
    "5",
    "-5",
    "< 5",
    "> 5",
    "$5",
    "€5",
    "x+y",
    "x y",
]
MEANT += ["x > y", "x < y", "😀", "😡", "?", "!", "कि", "की", "ที่", "ที"]


def test_marks_that_mean_something_make_two_texts(tmp_path: Path) -> None:
    texts = {f"{number:02}": text for number, text in enumerate(MEANT)}
    assert usable(texts).first_of == {} and len({normalised(text) for text in MEANT}) == len(MEANT)
    analysis = Analysis("en")
    assert signature("C++ tutorial", analysis) != signature("C# tutorial", analysis)
    rows = "".join(f"{text},answer {text},1\n" for text in MEANT)
    (tmp_path / "t.csv").write_text("query,passage,label\n" + rows)
    settings = PairSettings.model_validate({"source": "table", "path": "t.csv", "negatives": "none"})
    pairs, counts = build(settings, 0, tmp_path / "t.csv")
    assert len(pairs) == len(MEANT) and counts["duplicates"] == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("E-mail, please!", "e mail please"), ("- apples", "Apples"), ("# Apples", "apples."), ("1990-1991", "1990 1991"),
     ("The “fox”", "the fox"), ("a - b", "a b"), ("ﬁne", "FINE")],
)  # fmt: skip
def test_marks_that_mean_nothing_do_not(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefg"), max_size=30), st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_nearly_equal_is_the_jaccard_similarity_of_5_grams(one: list[str], two: list[str]) -> None:
    a, b = word_grams(" ".join(one)), word_grams(" ".join(two))
    alike = len(a & b) / len(a | b) >= 0.8
    assert nearly_equal(" ".join(one), [b]) is alike and nearly_equal(" ".join(one), [a])


# --- parts ------------------------------------------------------------------------------------------------------------

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 5))
def test_every_query_is_in_one_part_and_shares_are_kept(count: int, seed: int) -> None:
    queries = {f"q{i}": f"subject{i} of interest" for i in range(count)}
    found = part_of_each(queries, SHARES, seed)
    assert found.keys() == queries.keys()
    sizes = {name: list(found.values()).count(name) for name in SHARES}
    assert all(abs(sizes[name] - share * count) <= 1 for name, share in SHARES.items())
    assert part_of_each(dict(reversed(queries.items())), SHARES, seed) == found


@settings(deadline=None)
@given(st.integers(0, 20))
def test_the_same_question_in_other_words_is_in_the_same_part(seed: int) -> None:
    queries = {
        f"q{i}": f"what do {animal} eat"
        for i, animal in enumerate(["fox", "owl", "bee", "ant", "elk", "hen", "cow", "pig"])
    }
    queries |= {f"r{i}": f"{animal}: what does it eat?" for i, animal in enumerate(["FOX", "Owl", "bee"])}
    queries |= {"s0": "eats a fox? what"}
    queries |= {"n0": "food that no fox eats", "n1": "food that a fox eats"}
    analysis = Analysis("en")
    assert signature(queries["n0"], analysis) != signature(queries["n1"], analysis)
    found = part_of_each(queries, {"train": 0.5, "test": 0.5}, seed)
    assert found["q0"] == found["r0"] == found["s0"]
    assert found["q1"] == found["r1"] and found["q2"] == found["r2"]


def test_what_the_caller_keeps_together_stays_together() -> None:
    queries = {f"q{i}": f"subject{i}" for i in range(40)}
    queries["q39"] = "subject0"  # the stems tie q39 to q0, the key ties it to q38: all of both passages
    together = {f"q{i}": f"d{i // 4}" for i in range(40)}
    found = part_of_each(queries, SHARES, 3, together)
    for group in range(10):
        assert len({found[f"q{i}"] for i in range(group * 4, group * 4 + 4)}) == 1
    assert found["q0"] == found["q36"]


# --- decontamination --------------------------------------------------------------------------------------------------

NOUNS = [
    "engine",
    "wing",
    "vessel",
    "harbour",
    "lantern",
    "orchard",
    "valley",
    "bridge",
    "ledger",
    "village",
    "glacier",
    "compass",
    "anchor",
    "meadow",
]
VERBS = [
    "carries",
    "measures",
    "follows",
    "reaches",
    "heats",
    "divides",
    "supports",
    "covers",
    "resists",
    "absorbs",
    "reflects",
    "explains",
]
PLACES = [
    "Norway",
    "Ghent",
    "Lisbon",
    "Perth",
    "Kyoto",
    "Quito",
    "Tunis",
    "Riga",
    "Cork",
    "Turin",
    "Bergen",
    "Malmo",
    "Izmir",
    "Osaka",
]


def sentence(rng: random.Random, words: int) -> str:
    found = []
    while len(found) < words:
        found += [rng.choice(("the", "a", "every")), f"{rng.choice(NOUNS)}{rng.randint(1, 99)}", rng.choice(VERBS)]
        found += [rng.choice(("near", "under", "without")), rng.choice(PLACES)]
    return " ".join(found[:words]) + "."


def edited(rng: random.Random, text: str) -> str:
    """A light edit: case and punctuation, a word added, dropped, changed or swapped with its neighbour."""
    words = text.rstrip(".").split()
    for _ in range(max(1, len(words) // 20)):
        at = rng.randrange(len(words) - 1)
        way = rng.choice(("add", "drop", "change", "swap"))
        if way == "add":
            words.insert(at, rng.choice(("really", "very", "also")))
        elif way == "drop" and len(words) > 4:
            del words[at]
        elif way == "change":
            words[at] = rng.choice(("thing", "place", "matter"))
        else:
            words[at], words[at + 1] = words[at + 1], words[at]
    return rng.choice((str.upper, str.lower, str.capitalize))(" ".join(words)) + rng.choice(("", "!", "?", " ..."))


def test_planted_copies_and_light_edits_are_found_and_others_are_not() -> None:
    rng = random.Random(0)
    queries = [sentence(rng, rng.randint(7, 14)) for _ in range(300)]
    passages = [sentence(rng, rng.randint(40, 120)) for _ in range(300)]
    leaks = Leaks({"test": [*queries, *passages]}, True)
    planted = [*queries, *passages]
    copies = sum(leaks(text.upper()) is not None for text in planted) / len(planted)
    light_queries = [edited(rng, text) for text in queries]
    light_passages = [edited(rng, text) for text in passages]
    innocent = [sentence(rng, rng.randint(7, 120)) for _ in range(600)]
    found = {
        "copies": copies,
        "edited queries": sum(leaks(text) is not None for text in light_queries) / 300,
        "edited passages": sum(leaks(text) is not None for text in light_passages) / 300,
        "innocent": sum(leaks(text) is not None for text in innocent) / 600,
    }
    assert found["copies"] == 1.0, found
    assert found["edited queries"] >= 0.95 and found["edited passages"] >= 0.95, found
    assert found["innocent"] <= 0.01, found


def test_real_queries_and_passages_copied_and_edited(shared: Path) -> None:
    """Recall on SciFact's own test texts, and what of Cranfield is called a copy of them."""
    rng = random.Random(0)
    texts = [json.loads(line)["text"] for line in (shared / "scifact" / "queries.jsonl").read_text().splitlines()]
    corpus = (shared / "scifact" / "corpus.jsonl").read_text().splitlines()[:400]
    passages = [json.loads(line)["text"] for line in corpus]
    leaks = Leaks({"scifact": [*texts, *passages]}, True)
    for group in (texts, passages):
        assert all(leaks(text) for text in group)
        assert sum(leaks(edited(rng, text)) is not None for text in group) / len(group) >= 0.95
    others = [json.loads(line)["text"] for line in (shared / "cranfield" / "queries.jsonl").read_text().splitlines()]
    assert not [text for text in others if leaks(text)]


def test_training_loses_what_the_evaluation_sets_hold(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = {f"d{i}": sentence(rng, 40) for i in range(12)}
    queries = {f"q{i}": f"about {text.split()[1]} and {text.split()[6]} in {text.split()[4]}" for i, text in
               enumerate(texts.values())}  # fmt: skip
    (tmp_path / "qrels").mkdir()
    docs = "".join(json.dumps({"_id": d, "text": t}) + "\n" for d, t in texts.items())
    (tmp_path / "corpus.jsonl").write_text(docs)
    asked = "".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items())
    (tmp_path / "queries.jsonl").write_text(asked)
    (tmp_path / "qrels" / "train.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(12)))
    held_out = {"exam": [queries["q3"].upper(), texts["d5"] + " And more."], "other": [queries["q4"]]}
    asks = {"path": "x", "clean": {"decontaminate": ["exam"]}, "negatives": {"per_query": 2}}
    pairs, counts = build(PairSettings.model_validate(asks), 0, tmp_path, held_out=held_out)
    assert "q3" not in {p.query_id for p in pairs} and "d5" not in {p.doc_id for p in pairs}
    assert {"q4", "q5"} <= {p.query_id for p in pairs}
    left_out = counts["left_out"]
    assert left_out["queries of evaluation sets"] == 1 and left_out["passages of evaluation sets"] >= 1
    with pytest.raises(ConfigError, match="decontaminate: 'exams' is not known; there is exam, other"):
        asks["clean"] = {"decontaminate": ["exams"]}
        build(PairSettings.model_validate(asks), 0, tmp_path, held_out=held_out)
