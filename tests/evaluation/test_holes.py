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
from distill.evaluation.holes import Key, agreement, describe, filled, judge_holes, judged, rescaled, unjudged

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
    found = judge_holes(QRELS, RUNS, ["nDCG@10"], lambda keys: {key: said[key] for key in keys}, depth=2)
    assert (found["holes"], found["graded"], found["undecided"]) == (3, 2, 1)
    assert found["by_system"] == {"old": {"holes": 1, "relevant": 0}, "new": {"holes": 2, "relevant": 1}}
    before, after = found["before"]["per_query"]["new"]["nDCG@10"], found["after"]["per_query"]["new"]["nDCG@10"]
    assert before["q1"] < after["q1"] == 1.0 and before["q2"] == after["q2"]
    assert found["after"]["measures"]["old"]["nDCG@10"] < found["before"]["measures"]["old"]["nDCG@10"]
    assert found["agreement"]["exact"] == pytest.approx(2 / 3, abs=1e-4)
    assert "2 of 3 holes were graded" in describe(found)
    with pytest.raises(DataError, match="no judged passage"):
        judge_holes({"q1": {"k": 1}}, RUNS, ["nDCG@10"], lambda keys: dict.fromkeys(keys, 0))


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
    """A judge that is wrong one time in four; holes that are like judged passages, as the docstring demands."""
    from distill.evaluation.measures import per_query

    inside, widths = 0, []
    for seed in range(10):
        (whole, runs), known, grade = world(seed, 0.25)
        found = judge_holes(known, runs, ["nDCG@10"], grade, control=300, seed=seed)
        low, high = found["error"]["one"]["nDCG@10"]
        true = per_query(whole, runs["one"], ["nDCG@10"])["nDCG@10"]
        inside += low <= sum(true.values()) / len(true) <= high
        widths.append(high - low)
    assert inside >= 7 and 0 < max(widths) < 0.2


def test_a_judge_without_error_has_next_to_no_error_bar() -> None:
    (whole, runs), known, grade = world(1, 0.0)
    found = judge_holes(known, runs, ["nDCG@10"], grade, control=300)
    low, high = found["error"]["one"]["nDCG@10"]
    assert high - low < 0.02 and found["agreement"]["kappa"] == 1.0
    assert whole["q0"].items() >= {d: found["qrels"]["q0"][d] for d in found["qrels"]["q0"]}.items()


def test_the_command_asks_the_configurations_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded teacher grades passages of its own world whose judgements were hidden; again, it asks nothing."""
    from distill.example.world import WorldSettings, write_beir
    from distill.pairs.beir import read_qrels

    write_beir(tmp_path / "world", 0, WorldSettings(queries={"train": 1, "dev": 1, "test": 12}))
    texts = tmp_path / "world" / "test"
    qrels, _ = read_qrels(texts / "qrels" / "test.tsv")
    draw = random.Random(0)
    left = {q: {d: g for d, g in labels.items() if draw.random() < 0.7} for q, labels in qrels.items()}
    rows = [f"{q}\t{d}\t{g}\n" for q, labels in left.items() for d, g in labels.items()]
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    ranks = [f"{q} Q0 {d} 1 {draw.random() + g} t\n" for q, labels in qrels.items() for d, g in labels.items()]
    (tmp_path / "one.trec").write_text("".join(ranks))
    config = {"name": "holes", "pairs": {"source": "example"}, "teacher": {"source": "example"}}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    command = ["evaluate", str(tmp_path / "own.yaml"), "--judge-holes", "--qrels", str(tmp_path / "qrels.tsv")]
    command += ["--run", str(tmp_path / "one.trec"), "--texts", str(texts), "--out", str(tmp_path / "run")]
    assert main([*command, "--json", str(tmp_path / "found.json"), "--measure", "nDCG@10"]) == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["holes"] == found["graded"] > 10 and f"{found['graded']} of {found['holes']} holes" in said
    assert found["agreement"]["relevant"] > 0.9 and found["asked"]["asked_now"] > found["holes"]
    hidden = [(q, d) for q, labels in qrels.items() for d in labels if d not in left[q] and d in found["qrels"][q]]
    right = sum(found["qrels"][q][d] == min(1, qrels[q][d]) for q, d in hidden)
    assert right > 0.9 * len(hidden) > 9
    assert main([*command, "--json", str(tmp_path / "found.json")]) == 0
    assert json.loads((tmp_path / "found.json").read_text())["asked"]["asked_now"] == 0
    assert main([*command[:4], str(tmp_path / "qrels.tsv")]) == 2
    assert "needs --qrels, --run, and --texts" in capsys.readouterr().err
