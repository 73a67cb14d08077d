"""Fusion with the first stage: the arithmetic, the weight's choice, the command and the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.errors import InputError
from distill.rerank.calibration import Calibration, read, write
from distill.rerank.fusion import Fusion, choose, fuse, fuse_all
from tests.rerank.test_rerank_command import arguments, data, judgements

__all__ = ["data"]


def order(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda doc: -scores[doc])


def test_both_are_z_scores_by_query() -> None:
    fused = fuse({"a": 1.0, "b": 3.0}, {"a": 300.0, "b": 100.0}, 0.25)
    assert fused == pytest.approx({"a": 0.25 - 0.75, "b": 0.75 - 0.25})
    shifted = fuse({"a": 11.0, "b": 15.0}, {"a": 3.0, "b": 1.0}, 0.25)
    assert shifted == pytest.approx(fused), "scale and offset of either score do not count"


def test_a_missing_first_stage_score_is_the_lowest_of_its_list() -> None:
    margins = {"a": 0.0, "b": 1.0, "c": 2.0}
    assert fuse(margins, {"a": 9.0, "b": 4.0}, 0.7) == fuse(margins, {"a": 9.0, "b": 4.0, "c": 4.0}, 0.7)
    assert order(fuse(margins, {}, 1.0)) == ["c", "b", "a"], "with none at all the margin alone ranks, at any weight"
    assert order(fuse(margins, {"z": 5.0}, 1.0)) == ["c", "b", "a"], "a score of another passage is none"


def test_equal_scores_of_one_side_change_nothing() -> None:
    assert order(fuse({"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 5.0}, 0.9)) == ["b", "a"]
    assert order(fuse({"a": 1.0, "b": 1.0}, {"a": 5.0, "b": 6.0}, 0.1)) == ["b", "a"]


MARGINS = {f"q{q}": {f"d{d}": float((d * (q + 2)) % 7) for d in range(7)} for q in range(5)}
FIRST = {f"q{q}": {f"d{d}": float(7 - d) for d in range(7)} for q in range(5)}


@pytest.mark.parametrize(("right", "weights"), [(MARGINS, (0.0, 0.3)), (FIRST, (0.7, 1.0))])
def test_the_weight_goes_to_whoever_is_right(right: dict[str, dict[str, float]], weights: tuple[float, float]) -> None:
    qrels = {query: {max(scores, key=lambda doc: scores[doc]): 1.0} for query, scores in right.items()}
    found = choose(MARGINS, FIRST, qrels)
    assert weights[0] <= found.weight <= weights[1] and found.fused == 1.0 and found.queries == 5
    assert found.fused >= max(found.alone, found.first_stage) and 1.0 in (found.alone, found.first_stage)


def test_of_equal_weights_the_middle_is_taken_and_unjudged_queries_do_not_count() -> None:
    same = {"q": {"a": 2.0, "b": 1.0}, "other": {"a": 1.0, "b": 2.0}}
    assert choose(same, same, {"q": {"a": 1.0}, "other": {}}).weight == 0.5
    with pytest.raises(InputError, match="no query of the development set has a relevant passage"):
        choose(same, same, {"q": {"a": 0.0}})


def test_a_calibration_keeps_the_weight_and_its_judgements(tmp_path: Path) -> None:
    plain = Calibration({}, made_from={"x": 1})
    fused = Calibration({}, made_from={"x": 1}, fusion={"direct": Fusion(0.35, 0.5, 0.4, 0.45, 12)})
    write(tmp_path / "c.json", fused)
    assert read(tmp_path / "c.json") == fused
    assert str(plain) == str(fused), "judgements are known by it, and a weight changes none"
    raw = json.loads((tmp_path / "c.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps({key: value for key, value in raw.items() if key != "fusion"}))
    assert read(tmp_path / "old.json") == plain, "a file of before there were weights"


def test_rerank_fuses_what_calibrate_has_chosen(tiny: Path, data: Path, capsys: Any) -> None:
    out, saved = data / "out.trec", data / "c.json"
    command = arguments("rerank", tiny, data, "--mode", "direct", "--out", str(out))
    given = ("--calibration", str(saved))
    assert main([*command, "--fuse"]) == 2
    assert "no weight of the first stage was chosen" in capsys.readouterr().err
    qrels = str(data / "qrels.txt")
    calibrate = arguments("calibrate", tiny, data, "--mode", "direct", "--qrels", qrels, "--out", str(saved))
    assert main(calibrate) == 0
    assert "direct, fused: weight of the first stage" in capsys.readouterr().err
    chosen = read(saved).fusion["direct"]
    assert chosen.fused >= max(chosen.alone, chosen.first_stage)
    assert main([*command, *given]) == 0
    alone = out.read_text()
    assert main([*command, *given, "--fuse"]) == 0
    assert "30 of 30 pairs are judged already" in capsys.readouterr().err, "fusion judges nothing again"
    found = judgements(data / "out.trec.judgements")
    margins: dict[str, dict[str, float]] = {}
    for (query, doc), judgement in found.items():
        margins.setdefault(query, {})[doc] = judgement.margin
    first = {f"q{q}": {f"d{d}": float(5 - d) for d in range(5)} for q in range(6)}
    expected = fuse_all(margins, first, chosen.weight)
    lines = [line.split() for line in out.read_text().splitlines()]
    for query, scores in expected.items():
        assert {line[2]: float(line[4]) for line in lines if line[0] == query} == pytest.approx(scores)
    assert main([*command, *given]) == 0
    assert out.read_text() == alone


def test_the_server_fuses_where_scores_are_sent() -> None:
    pytest.importorskip("fastapi", reason='the server needs the extra "serve"')
    from tests.rerank.serving import Scripted, post, score_of, serving

    texts = ["a fox", "the sea", "a dog"]
    documents = [{"text": text, "first_stage_score": float(at)} for at, text in enumerate(texts)]
    body = {"query": "fox", "documents": documents}
    chosen = Fusion(0.8, 0.5, 0.4, 0.45, 12)
    with serving(Scripted(), fusion=chosen) as server:
        _, fused, _ = post(server.url + "/v1/rerank", body)
        _, plain, _ = post(server.url + "/v1/rerank", {"query": "fox", "documents": texts})
        wrong = {"query": "fox", "documents": [{"text": "a", "first_stage_score": "x"}]}
        status, _, _ = post(server.url + "/v1/rerank", wrong)
    margins = {str(at): score_of("fox", text) for at, text in enumerate(texts)}
    expected = fuse(margins, {"0": 0.0, "1": 1.0, "2": 2.0}, 0.8)
    assert [str(row["index"]) for row in fused["results"]] == order(expected)
    assert [row["fused_score"] for row in fused["results"]] == pytest.approx(sorted(expected.values(), reverse=True))
    assert {row["index"]: row["relevance_score"] for row in fused["results"]} == {
        row["index"]: row["relevance_score"] for row in plain["results"]
    }, "the probability stays the student's"
    assert "fused_score" not in plain["results"][0] and status == 422
    with serving(Scripted()) as server:
        _, answer, _ = post(server.url + "/v1/rerank", body)
    assert "first_stage_score has no effect" in answer["meta"]["warnings"][0]
