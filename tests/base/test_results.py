"""Results are read from JSON as their types say, and what is torn or of another type is left out."""

from __future__ import annotations

from typing import Any

import pytest

from distill.results import EvaluationResult, PairedTest, RunMetrics, SetDetail, StageCounts, as_json, read_as

TEST = {"difference": 0.1, "p_bootstrap": 0.2, "p_randomisation": 0.3, "p_holm": 0.4}
METRICS: dict[str, Any] = {
    "name": "tiny",
    "stages": {"filter": {"kept": 3, "by_filter": {"parses": {"rejected": 2, "reasons": {"odd": 2}}}, "own": [1]}},
    "evaluation": {"test": {"think": {"nDCG@10": 0.5}}},
    "intervals": {"test": {"think": {"nDCG@10": [0.4, 0.6]}}},
}


def test_metrics_are_written_as_they_were_read() -> None:
    metrics = read_as(RunMetrics, METRICS)
    assert as_json(metrics) == METRICS
    assert metrics.counts("filter").kept == 3 and metrics.counts("filter").by_filter["parses"].reasons == {"odd": 2}
    assert metrics.counts("sft") == StageCounts()
    assert as_json(read_as(RunMetrics, {**METRICS, "holes": {"test": {"graded": 1}}}))["holes"] == {
        "test": {"graded": 1}
    }


@pytest.mark.parametrize("torn", [None, [], "text", {"evaluation": 3, "stages": {"filter": "?"}, "intervals": None}])
def test_what_is_torn_is_empty(torn: Any) -> None:
    assert read_as(RunMetrics, torn) == RunMetrics()


def test_the_wrong_entry_alone_is_left_out() -> None:
    given = {"test": {"think": {"nDCG@10": 0.5, "AP": "?", "RR@10": None}}, "other": 3}
    assert read_as(RunMetrics, {"evaluation": given}).evaluation == {"test": {"think": {"nDCG@10": 0.5}}}
    tests = {"think": {"nDCG@10": TEST, "AP": {"difference": 0.1}}}
    assert read_as(SetDetail, {"tests": tests}).tests == {"think": {"nDCG@10": PairedTest(**TEST)}}
    assert read_as(StageCounts, {"kept": "many", "rejected": 4}) == StageCounts(rejected=4)


def test_whole_grades_stay_whole() -> None:
    assert str(read_as(SetDetail, {"qrels": {"q": {"d": 2, "e": 0.5}}}).qrels["q"]["d"]) == "2"


def test_what_a_result_lacks_is_not_written() -> None:
    written = as_json(EvaluationResult(measures={"a": {"AP": 0.5}}, tests={"a": {"AP": PairedTest(**TEST)}}))
    assert "per_query" not in written and "spread" not in written and written["tests"]["a"]["AP"] == TEST
