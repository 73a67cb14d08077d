"""Filters that look at many traces: votes, disputes, duplicates, contamination, caps, the first round's student."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from filter_rows import TEXT, pair, reasons, sifted, trace
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import ConfigError, DataError
from distill.records import Judgement, Pair
from filters.base import Tools
from filters.consensus import Consensus
from filters.near_duplicate import near_duplicates


def votes(*verdicts: int | None, keep: str = "shortest", **rest: float) -> tuple[list[int], dict[int, str]]:
    one = pair()
    rows = [(one, trace(one, n, v, TEXT + " More." * (7 * n % 5))) for n, v in enumerate(verdicts)]
    found = sifted(rows, [{"consensus": {"keep": keep, **rest}}])
    return [t.sample for t in found.kept], {sample: why for (_, sample), why in reasons(found).items()}


def test_the_majority_is_kept_and_the_rest_is_told_why() -> None:
    kept, why = votes(1, 0, 1, 1, keep="all")
    assert kept == [0, 2, 3] and why == {1: "outvoted: 3 of 4 samples say otherwise"}
    kept, why = votes(1, None, 1, keep="all")
    assert kept == [0, 2] and "no vote" in why[1]


def test_ties_and_weak_majorities_are_no_agreement() -> None:
    assert votes(1, 0)[0] == votes(1, 0, 1, agreement=0.8)[0] == votes(1, min_samples=2)[0] == []
    assert votes(1, 1, 1, 1, 0, agreement=0.8)[0] == [0]


@pytest.mark.parametrize(("keep", "sample"), [("shortest", 0), ("longest", 2), ("median", 3)])
def test_which_sample_stays(keep: str, sample: int) -> None:
    assert votes(1, 1, 1, 1, keep=keep)[0] == [sample]  # lengths 0, 2, 4, 1 times " More."


def test_the_sample_closest_to_the_mean_grade_stays() -> None:
    one = pair()
    rows = [(one, trace(one, n, v)) for n, v in enumerate([3, 3, 2, 1])]
    assert sifted(rows, [{"consensus": {"keep": "closest"}}]).kept[0].verdict == 3


@given(st.lists(st.sampled_from([0, 1, None]), min_size=1, max_size=7), st.sampled_from(["all", "closest", "longest"]))
def test_what_is_kept_says_what_most_say(verdicts: list[int | None], keep: str) -> None:
    one = pair()
    rows = [(one, trace(one, n, v)) for n, v in enumerate(verdicts)]
    out = Consensus.model_validate({"keep": keep})(rows)
    kept = {v for n, v in enumerate(verdicts) if (one.pair_id, n) not in out}
    readable = Counter(v for v in verdicts if v is not None).most_common()
    tied = len(readable) > 1 and readable[0][1] == readable[1][1]
    assert kept == (set() if not readable or tied else {readable[0][0]})


def disputed() -> list[tuple[Pair, object]]:
    one, two, three = pair(1, label=0, label_origin="assumed"), pair(2, label=1), pair(3, label=0)
    return [
        (one, trace(one, 0)),
        (one, trace(one, 1)),
        (two, trace(two, 0)),
        (three, trace(three, 0)),
        (three, trace(three, 1, 0)),
    ]


def test_disputes_are_dropped_where_all_samples_oppose_the_label() -> None:
    rows = disputed()
    found = sifted(rows, ["label_dispute"])  # type: ignore[arg-type]
    assert {r.trace.pair_id for r in found.rejected} == {rows[0][0].pair_id} and len(found.kept) == 3
    assert sifted(rows, [{"label_dispute": {"samples": 3}}]).rejected == []  # type: ignore[arg-type]
    assert sifted(rows, [{"label_dispute": {"origins": ["judged"]}}]).rejected == []  # type: ignore[arg-type]


def test_an_unsure_verdict_disputes_no_label_where_that_is_asked() -> None:
    one = pair(1, label=0)
    unsure = [(one, trace(one, n, p_relevant=sure)) for n, sure in enumerate((0.99, 0.6))]
    assert len(sifted(unsure, ["label_dispute"]).rejected) == 2
    assert sifted(unsure, [{"label_dispute": {"sure": 0.9}}]).rejected == []
    known = [(one, trace(one, n, p_relevant=sure)) for n, sure in enumerate((0.99, None))]
    assert len(sifted(known, [{"label_dispute": {"sure": 0.9}}]).rejected) == 2  # nothing is known of the second


def test_relabelled_pairs_remember_their_label_and_pass_the_label_filter() -> None:
    rows = disputed()
    found = sifted(rows, [{"label_dispute": {"policy": "relabel"}}, "verdict_matches_label"])  # type: ignore[arg-type]
    (changed,) = found.changed.values()
    assert (changed.label, changed.label_origin, changed.label_before) == (1, "vote", 0)
    assert found.counts["relabelled"] == 1 and len(found.kept) == 4


def test_review_goes_out_to_a_sheet_and_comes_back(tmp_path: Path) -> None:
    rows = disputed()
    one = replace(rows[0][0], query="=cmd()<script>")
    rows = [(one, t) if p.pair_id == one.pair_id else (p, t) for p, t in rows]
    review = {"label_dispute": {"policy": "review"}}
    with pytest.raises(ConfigError, match="needs a folder"):
        sifted(rows, [review])  # type: ignore[arg-type]
    tools = Tools(out=tmp_path, base=tmp_path)
    found = sifted(rows, [review], tools)  # type: ignore[arg-type]
    assert set(reasons(found).values()) == {"the label is disputed and waits for review"}
    sheet = list(csv.DictReader(open(tmp_path / "disputes.csv", encoding="utf-8")))
    assert [row["pair_id"] for row in sheet] == [one.pair_id] and sheet[0]["query"].startswith("'=")
    assert "<script>" not in (tmp_path / "disputes.html").read_text()
    for decision, kept in (("relabel", 2), ("reject", 0), ("accept", 0)):
        (tmp_path / "done.csv").write_text(f"pair_id,decision\n{one.pair_id},{decision}\n")
        back = {"label_dispute": {"policy": "review", "decisions": "done.csv"}}
        found = sifted(rows[:2], [back, "verdict_matches_label"], tools)  # type: ignore[arg-type]
        assert len(found.kept) == kept and all(p.label_origin == "human" for p in found.changed.values())
    (tmp_path / "done.csv").write_text(f"pair_id,decision\n{one.pair_id},maybe\n")
    with pytest.raises(DataError, match=r"done.csv:2: 'maybe' is none of"):
        sifted(rows, [back], tools)  # type: ignore[arg-type]


def words(rng: random.Random, count: int) -> str:
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(count))


def test_near_duplicates_keep_the_first() -> None:
    rng = random.Random(0)
    texts = [words(rng, 150) for _ in range(300)]
    edited = []
    for text in texts[:100]:
        parts = text.split()
        parts[rng.randrange(150)] = "other"
        edited.append(" ".join(parts))
    found = near_duplicates([*texts, *edited, *texts[:10]], 0.8)
    assert len(found) >= 108 and all(first == (later - 300) % 100 for later, first in found.items())
    assert near_duplicates(["", "", "a", "a b c", "b a c"], 0.8) == {}


def test_near_duplicate_pairs_go_with_all_their_samples() -> None:
    text = words(random.Random(1), 120)
    rows = [
        (p, trace(p, s))
        for p in (pair(1, query="q", passage=text), pair(2, query="q", passage=text + " end"))
        for s in (0, 1)
    ]
    found = sifted(rows, ["near_duplicate"])
    first, second = sorted({p.pair_id for p, _ in rows})
    assert reasons(found) == {(second, s): f"nearly the same pair: {first}" for s in (0, 1)}


def light(text: str, rng: random.Random) -> str:
    """Copies and light edits: a word lost, added, swapped, cut short, or all in capitals."""
    parts = text.split()
    for _ in range(len(parts) // 10):
        at = rng.randrange(len(parts) - 1)
        kind = rng.randrange(4)
        if kind == 0 and len(parts) > 4:
            del parts[at]
        elif kind == 1:
            parts.insert(at, "very")
        elif kind == 2:
            parts[at], parts[at + 1] = parts[at + 1], parts[at]
        else:
            parts[at] = parts[at][:-1] if len(parts[at]) > 4 else parts[at] + "s"
    return " ".join(parts).upper() if rng.random() < 0.1 else " ".join(parts)


@pytest.mark.parametrize(
    ("name", "file", "least"),
    [("scifact", "queries", 0.95), ("cranfield", "queries", 0.95), ("scifact", "corpus", 0.95)],
)
def test_planted_test_texts_are_found(shared: Path, name: str, file: str, least: float) -> None:
    import json

    def read(folder: str, what: str) -> list[str]:
        return [json.loads(line)["text"] for line in (shared / folder / f"{what}.jsonl").read_text().splitlines()][:600]

    rng = random.Random(0)
    texts, others = read(name, file), read({"scifact": "cranfield", "cranfield": "scifact"}[name], file)
    of = "query" if file == "queries" else "passage"
    planted = [pair(n, **{of: light(text, rng) if n % 2 else text}) for n, text in enumerate(texts) if text]
    clean = [pair(n + 1000, **{of: text}) for n, text in enumerate(others) if text]
    found = sifted(
        [(p, trace(p)) for p in planted + clean], [{"decontaminate": {"of": [of]}}], Tools(held_out={"test": texts})
    )
    out = {r.trace.pair_id for r in found.rejected}
    assert len(out & {p.pair_id for p in planted}) >= least * len(planted)
    assert len(out & {p.pair_id for p in clean}) <= 0.01 * len(clean)
    assert all(r.reason.startswith(f"the {of} is in the evaluation set 'test'") for r in found.rejected)


def test_decontaminate_names_the_sets_it_knows() -> None:
    one = pair()
    with pytest.raises(ConfigError, match=r"filters.decontaminate needs evaluation sets .* known are: test"):
        sifted([(one, trace(one))], [{"decontaminate": {"sets": ["tset"]}}], Tools(held_out={"test": ["a"]}))


def test_balance_caps_and_is_the_same_in_any_order() -> None:
    sources = ("qrels", "bm25:3", "bm25:3")
    pairs = [pair(n, query_id=f"q{n % 7}", label=int(n % 10 == 0), source=sources[n % 3]) for n in range(300)]
    rows = [(p, trace(p)) for p in pairs]
    settings = {"balance": {"per_query": 20, "per_source": {"bm25": 60}, "negatives_per_positive": 2}}
    found = sifted(rows, [settings])
    by = {t.pair_id: p for p, t in rows}
    kept = [by[t.pair_id] for t in found.kept]
    assert max(Counter(p.query_id for p in kept).values()) <= 20
    assert sum(p.source == "bm25:3" for p in kept) <= 60
    assert sum(p.label == 0 for p in kept) == 2 * sum(p.label == 1 for p in kept) > 0
    shuffled = rows[:]
    random.Random(0).shuffle(shuffled)
    assert {t.pair_id for t in sifted(shuffled, [settings]).kept} == {p.pair_id for p in kept}
    other = sifted(rows, [settings], Tools(seed=1))
    assert {t.pair_id for t in other.kept} != {p.pair_id for p in kept}
    small = {t.pair_id for t in sifted(rows, [{"balance": {"per_query": 5}}]).kept}
    assert small < {t.pair_id for t in sifted(rows, [{"balance": {"per_query": 9}}]).kept}


def test_the_first_rounds_student_puts_out_what_it_contradicts() -> None:
    def score(asked: Sequence[Pair]) -> list[Judgement]:
        return [
            Judgement(p.query_id, p.doc_id, 0.9 if p.passage != "passage 2" else 0.6, 0, 1, "", "direct", 1, "stop")
            for p in asked
        ]

    positive = pair(1)
    sure, unsure = pair(3, label=0, label_origin="assumed"), pair(2, label=0, label_origin="assumed")
    rows = [(positive, trace(positive, verdict=0)), (sure, trace(sure, verdict=0)), (unsure, trace(unsure, verdict=0))]
    with pytest.raises(ConfigError, match="set rounds: 2"):
        sifted(rows, ["self_filter"])
    found = sifted(rows, [{"self_filter": {"certainty": 0.8, "spare": ["judged+"]}}], Tools(score=score))
    assert {r.trace.pair_id for r in found.rejected} == {sure.pair_id}
