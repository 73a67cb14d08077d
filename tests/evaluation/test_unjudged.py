"""Holes: which there are, what grading them changes, what the judge's errors are told as, and the command."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.errors import DataError
from distill.evaluation.unjudged import Key, agreement, describe, filled, judge_unjudged, judged, rescaled, unjudged

QRELS = {"q1": {"a": 3, "b": 0}, "q2": {"c": 2}}
RUNS = {
    "old": {"q1": {"a": 2.0, "b": 1.0}, "q2": {"c": 2.0, "x": 1.0}},
    "new": {"q1": {"y": 3.0, "a": 2.0}, "q2": {"z": 2.0, "c": 1.0}, "q3": {"w": 1.0}},
}


def test_holes_are_the_unjudged_of_the_top() -> None:
    assert unjudged(QRELS, RUNS, 1) == [("q1", "y"), ("q2", "z")]
    assert unjudged(QRELS, RUNS, 2) == [("q1", "y"), ("q2", "x"), ("q2", "z")]  # q3 is not judged at all
    assert judged(QRELS, RUNS, 2, 10, 0) == [("q1", "a"), ("q1", "b"), ("q2", "c")]
    assert len(judged(QRELS, RUNS, 2, 2, 0)) == 2


def test_a_judgement_is_never_replaced() -> None:
    found = filled(QRELS, {("q1", "a"): 0, ("q1", "y"): 2})
    assert found == {"q1": {"a": 3, "b": 0, "y": 2}, "q2": {"c": 2}} and "y" not in QRELS["q1"]


@pytest.mark.parametrize(("highest", "wanted"), [(1, [0, 0, 1, 1]), (3, [0, 1, 2, 3]), (4, [0, 1, 3, 4])])
def test_grades_are_put_on_the_judgements_scale(highest: int, wanted: list[int]) -> None:
    assert [rescaled(grade, highest) for grade in range(4)] == wanted


def test_agreement_by_hand() -> None:
    found = agreement([(3, 3), (2, 1), (0, 2), (0, 0)], 2)
    assert found["pairs"] == 4 and found["exact"] == 0.5 and found["relevant"] == 0.5 and found["kappa"] == 0
    assert found["bias"] == 0.25 and found["precision"] == 0.5 and found["recall"] == 0.5
    assert agreement([], 1) == {"pairs": 0}


def test_before_and_after() -> None:
    said = {("q1", "y"): 3, ("q2", "z"): 0, ("q2", "x"): None, ("q1", "a"): 3, ("q1", "b"): 1, ("q2", "c"): 2}
    found = judge_unjudged(QRELS, RUNS, ["nDCG@10"], lambda keys: {key: said[key] for key in keys}, depth=2)
    assert (found.holes, found.graded, found.undecided) == (3, 2, 1)
    assert found.by_system == {"old": {"holes": 1, "relevant": 0}, "new": {"holes": 2, "relevant": 1}}
    before, after = found.before.per_query["new"]["nDCG@10"], found.after.per_query["new"]["nDCG@10"]
    assert before["q1"] < after["q1"] == 1.0 and before["q2"] == after["q2"]
    assert found.after.measures["old"]["nDCG@10"] < found.before.measures["old"]["nDCG@10"]
    assert found.agreement["exact"] == pytest.approx(2 / 3, abs=1e-4)
    assert "2 of 3 unjudged passages were graded" in describe(found)
    with pytest.raises(DataError, match="no judged passage"):
        judge_unjudged({"q1": {"k": 1}}, RUNS, ["nDCG@10"], lambda keys: dict.fromkeys(keys, 0))


def world(seed: int, wrong: float) -> tuple[Any, Any, Any]:
    """(true judgements, those without the hidden ones, a judge that errs in `wrong` of its answers), 40 queries."""
    draw = random.Random(seed)
    whole = {f"q{n}": {f"d{m}": int(draw.random() < 0.4) for m in range(20)} for n in range(40)}
    known = {q: {d: g for d, g in labels.items() if draw.random() < 0.6} for q, labels in whole.items()}
    runs = {"one": {q: {d: g + draw.random() * 2 for d, g in labels.items()} for q, labels in whole.items()}}

    def grade(keys: Sequence[Key]) -> dict[Key, int | None]:
        lots = random.Random(seed + 1)
        return {(q, d): 3 * (whole[q][d] if lots.random() >= wrong else 1 - whole[q][d]) for q, d in keys}

    return (whole, runs), known, grade


def test_the_error_bar_holds_the_true_value_about_as_often_as_it_says() -> None:
    """A judge that is wrong one time in four; every unjudged passage is graded, so the truth is what is estimated."""
    from distill.statistics.measures import per_query

    inside, widths = 0, []
    for seed in range(10):
        (whole, runs), known, grade = world(seed, 0.25)
        found = judge_unjudged(known, runs, ["nDCG@10"], grade, depth=20, control=300, seed=seed)
        low, high = found.error["one"]["nDCG@10"]
        true = per_query(whole, runs["one"], ["nDCG@10"])["nDCG@10"]
        inside += low <= sum(true.values()) / len(true) <= high
        widths.append(high - low)
    assert inside >= 7 and 0 < max(widths) < 0.2


def test_a_judge_without_error_has_next_to_no_error_bar() -> None:
    (whole, runs), known, grade = world(1, 0.0)
    found = judge_unjudged(known, runs, ["nDCG@10"], grade, control=300)
    low, high = found.error["one"]["nDCG@10"]
    assert high - low < 0.02 and found.agreement["kappa"] == 1.0
    assert whole["q0"].items() >= {d: found.qrels["q0"][d] for d in found.qrels["q0"]}.items()


def test_the_command_asks_the_configurations_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded teacher grades passages of its own world whose judgements were hidden; again, it asks nothing."""
    from distill.example.world import WorldSettings, write_beir
    from distill.files.qrels import read_qrels

    write_beir(tmp_path / "world", 0, WorldSettings(queries={"train": 1, "dev": 1, "test": 12}))
    texts = tmp_path / "world" / "test"
    qrels = read_qrels(texts / "qrels" / "test.tsv")
    draw = random.Random(0)
    left = {q: {d: g for d, g in labels.items() if draw.random() < 0.7} for q, labels in qrels.items()}
    rows = [f"{q}\t{d}\t{g}\n" for q, labels in left.items() for d, g in labels.items()]
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    ranks = [f"{q} Q0 {d} 1 {draw.random() + g} t\n" for q, labels in qrels.items() for d, g in labels.items()]
    (tmp_path / "one.trec").write_text("".join(ranks))
    config = {"name": "holes", "pairs": {"source": "example"}, "teacher": {"source": "example"}}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    command = ["evaluate", str(tmp_path / "own.yaml"), "--judge-unjudged", "--qrels", str(tmp_path / "qrels.tsv")]
    command += ["--run", str(tmp_path / "one.trec"), "--texts", str(texts), "--out", str(tmp_path / "run")]
    assert main([*command, "--json", str(tmp_path / "found.json"), "--measure", "nDCG@10"]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["holes"] == found["graded"] > 10 and f"{found['graded']} of {found['holes']} unjudged passages" in said
    assert found["agreement"]["relevant"] > 0.9 and found["asked"]["asked_now"] > found["holes"]
    hidden = [(q, d) for q, labels in qrels.items() for d in labels if d not in left[q] and d in found["qrels"][q]]
    right = sum(found["qrels"][q][d] == min(1, qrels[q][d]) for q, d in hidden)
    assert right > 0.9 * len(hidden) > 9
    assert main([*command, "--json", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["asked"]["asked_now"] == 0
    assert main([*command[:4], str(tmp_path / "qrels.tsv")]) == 2
    assert "needs --qrels, --run, and --texts" in capsys.readouterr().err
    (texts / "qrels" / "test.tsv").unlink()  # --texts promises to need corpus.jsonl and queries.jsonl alone
    (texts / "qrels").rmdir()
    assert main([*command, "--json", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["holes"] == found["holes"]
    rows = (texts / "corpus.jsonl").read_text().splitlines()
    gone = next(row for row in rows if json.loads(row)["_id"] == hidden[0][1])
    (texts / "corpus.jsonl").write_text("".join(f"{row}\n" for row in rows if row != gone))
    assert main(command) == 2
    said = capsys.readouterr().err
    assert repr(hidden[0][1]) in said and "no text of it" in said


def test_positive_judgements_alone_are_refused_before_a_judge_is_asked() -> None:
    def grade(keys: Sequence[Key]) -> dict[Key, int | None]:
        raise AssertionError("a judge was asked")

    with pytest.raises(DataError, match="has grade 0.*judged not relevant as well"):
        judge_unjudged({"q1": {"a": 1}}, RUNS, ["nDCG@10"], grade)


def test_a_system_with_few_judged_passages_is_listed_with_the_reason() -> None:
    (_, runs), known, grade = world(3, 0.1)
    few = {query: {passage: 0.5} for query in ("q0", "q1") for passage in known[query]}
    found = judge_unjudged(known, {**runs, "few": few}, ["nDCG@10"], grade)
    assert set(found.error) == set(found.corrected) == {"one"}
    assert list(found.not_estimated) == ["few"] and "judged passages in its top 20s" in found.not_estimated["few"]
    assert f"few: no estimate: {found.not_estimated['few']}." in describe(found)


def test_equal_seeds_give_equal_intervals_which_hold_the_estimate() -> None:
    (_, runs), known, grade = world(4, 0.2)
    one, same, other = (judge_unjudged(known, runs, ["nDCG@10"], grade, seed=seed) for seed in (0, 0, 1))
    assert one.error == same.error and one.corrected == same.corrected
    assert one.error != other.error
    low, high = one.error["one"]["nDCG@10"]
    assert low < one.corrected["one"]["nDCG@10"] < high


def test_an_undecided_judge_leaves_a_wider_interval() -> None:
    (_, runs), known, grade = world(5, 0.0)
    missing = set(unjudged(known, runs, 10))
    silent = judge_unjudged(
        known, runs, ["nDCG@10"], lambda keys: {k: None if k in missing else g for k, g in grade(keys).items()}
    )
    widths = []
    for found in (judge_unjudged(known, runs, ["nDCG@10"], grade), silent):
        low, high = found.error["one"]["nDCG@10"]
        widths.append(high - low)
    assert silent.undecided == len(missing) and widths[1] > 2 * widths[0]


def test_measures_that_were_not_tried_are_said() -> None:
    (_, runs), known, grade = world(6, 0.2)
    found = judge_unjudged(known, runs, ["nDCG@10", "RR@10", "Judged@10"], grade, depth=12)
    assert found.untried == ["RR@10", "depth 12"] and "RR@10, depth 12: how often" in describe(found)
    low, high = found.error["one"]["RR@10"]
    assert low <= found.corrected["one"]["RR@10"] <= high and "Judged@10" not in found.error["one"]
    usual = judge_unjudged(known, runs, ["nDCG@10"], grade)
    assert usual.untried == [] and "how often" not in describe(usual)


def test_drawn_ndcg_equals_ir_measures() -> None:
    """Random graded judgements and rankings, full of ties, with queries that a run lacks."""
    import numpy as np

    from distill.evaluation.unjudged_measures import drawn_means
    from distill.statistics.measures import per_query

    draw = random.Random(0)
    qrels = {f"q{n}": {f"d{m}": draw.choice([0, 0, 1, 2, 3]) for m in range(draw.randint(1, 12))} for n in range(30)}
    runs = {
        name: {q: {f"d{m}": draw.randint(0, 9) / 3 for m in range(25)} for q in qrels if draw.random() < 0.9}
        for name in ("a", "b")
    }
    keys = unjudged(qrels, runs, 10)
    grades = np.array([[draw.randint(0, 3) for _ in keys] for _ in range(5)])
    means = drawn_means(qrels, runs, ["nDCG@10", "nDCG@3", "AP"], keys, grades)
    for row, drawn in enumerate(grades.tolist()):
        whole = filled(qrels, dict(zip(keys, drawn, strict=True)))
        for name, run in runs.items():
            for measure, values in per_query(whole, run, ["nDCG@10", "nDCG@3", "AP"]).items():
                assert means[name][measure][row] == pytest.approx(sum(values.values()) / len(values), abs=1e-9)


def graded_world(seed: int) -> tuple[Any, Any, Any, Any]:
    """(true judgements, those known, runs, judge) of a world of four rankers with grades 0 to 3, one ranker unpooled.

    Rankers see the grade through noise of their own; known are the tops of the first three.
    """
    draw = random.Random(seed)
    whole = {f"q{n}": {f"d{m}": draw.choice([0, 0, 0, 0, 1, 1, 2, 3]) for m in range(40)} for n in range(25)}
    runs = {
        name: {q: {d: g + draw.gauss(0, noise) for d, g in labels.items()} for q, labels in whole.items()}
        for name, noise in (("a", 1.0), ("b", 1.5), ("c", 2.0), ("new", 1.2))
    }
    pooled = {name: runs[name] for name in ("a", "b", "c")}
    pool = set(unjudged({query: {} for query in whole}, pooled, 10))
    known = {q: {d: g for d, g in labels.items() if (q, d) in pool} for q, labels in whole.items()}

    def grade(keys: Sequence[Key]) -> dict[Key, int | None]:
        errors = random.Random(seed + 1)
        return {(q, d): min(3, max(0, whole[q][d] + errors.choice([-1, 0, 0, 0, 1, 1]))) for q, d in keys}

    return whole, known, runs, grade


def test_intervals_of_an_unpooled_ranker_hold_as_often_as_they_say() -> None:
    """Of intervals that hold in 95 of 100 worlds, fewer than 33 of 40 would be seen in 1 of 500 tries (binomial)."""
    from distill.statistics.measures import per_query

    inside, better = 0, 0
    for seed in range(40):
        whole, known, runs, grade = graded_world(seed)
        found = judge_unjudged(known, runs, ["nDCG@10"], grade, seed=seed)
        labels = filled(known, {(q, d): whole[q][d] for q, d in unjudged(known, runs, 10)})
        values = per_query(labels, runs["new"], ["nDCG@10"])["nDCG@10"]
        true = sum(values.values()) / len(values)
        low, high = found.error["new"]["nDCG@10"]
        inside += low <= true <= high
        before = found.before.measures["new"]["nDCG@10"]
        better += abs(found.corrected["new"]["nDCG@10"] - true) < abs(before - true)
    assert inside >= 33 and better >= 33
