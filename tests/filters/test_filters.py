"""What is kept, what is put out and why, and that the counts add up whatever comes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filter_rows import in_folder, sifted
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from distill.pipeline.config import RunConfig
from distill.records import Pair, Trace, make_pair
from filters.base import Tools
from filters.engine.build import build
from filters.settings import DEFAULT, FilterSettings

PAIR = make_pair("q", "d", "query", "passage", label=1)
GOOD: dict[str, Any] = {
    "pair_id": PAIR.pair_id, "sample": 0, "request_id": "r", "reasoning": "The passage answers the query.",
    "content": "true", "verdict": 1, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 9,
    "cost_usd": 0.0, "latency_s": 0.1, "teacher": "{}",
}  # fmt: skip


def trace(**values: Any) -> Trace:
    return Trace(**(GOOD | values))


def put_out(pair: Pair, given: Trace, filters: list[Any]) -> tuple[str, str] | None:
    found = sifted([(pair, given)], filters)
    kept, rejected = found.kept, found.rejected
    assert len(kept) + len(rejected) == 1
    return (rejected[0].filter, rejected[0].reason) if rejected else None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"finish_reason": "length"}, ("finished", "the answer ended by 'length', not by itself")),
        ({"finish_reason": "eos"}, None),
        ({"finish_reason": "max_tokens"}, ("finished", "the answer ended by 'max_tokens', not by itself")),
        ({"finish_reason": "content_filter"}, ("finished", "the answer ended by 'content_filter', not by itself")),
        ({"verdict": None, "content": ""}, ("parses", "there is no answer after the reasoning")),
        ({"verdict": None, "content": "maybe"}, ("parses", "the answer says neither true nor false")),
        ({"reasoning": " "}, ("has_reasoning", "there is no reasoning")),
        ({"reasoning": "Yes."}, ("has_reasoning", "the reasoning has fewer than 20 characters")),
        ({"verdict": 0}, ("verdict_matches_label", "the teacher says false, the label says relevant")),
        ({"completion_tokens": 99}, ("length", "longer than 50 tokens")),
    ],
)
def test_each_fault_is_caught_with_its_reason(values: dict[str, Any], expected: tuple[str, str] | None) -> None:
    assert put_out(PAIR, trace(**values), [*DEFAULT, {"length": {"max_tokens": 50}}]) == expected


@pytest.mark.parametrize(
    ("values", "given", "reason"),
    [
        ({"p_relevant": 0.9}, {}, None),
        ({"p_relevant": 0.89}, {}, "unsure of its own verdict: 0.89"),
        ({"p_relevant": 0.1, "verdict": 0}, {}, None),
        ({"p_relevant": 0.1}, {}, "unsure of its own verdict: 0.10"),  # drawn against the odds
        ({"p_relevant": 0.7}, {"at_least": 0.6}, None),
        ({}, {}, "nothing says how likely the verdict is"),
        ({}, {"unknown": "keep"}, None),
        ({"verdict": None}, {}, None),
    ],
)
def test_confidence_is_that_of_the_verdicts_own_side(
    values: dict[str, Any], given: dict[str, Any], reason: str | None
) -> None:
    expected = ("confidence", reason) if reason else None
    assert put_out(PAIR, trace(**values), [{"confidence": given}]) == expected


@pytest.mark.parametrize(
    ("teacher", "given", "refused"),
    [
        ({"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}]}, {}, True),
        ({"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}]}, {"unknown": "keep"}, False),
        ({"endpoints": [{"base_url": "http://127.0.0.1:1/v1", "model": "m"}], "logprobs": True}, {}, False),
        ({"source": "labels"}, {}, True),
        ({"source": "import", "import": {"path": "a.jsonl"}}, {}, False),
    ],
)
def test_confidence_needs_a_teacher_that_says_how_sure_it_is(
    teacher: dict[str, Any], given: dict[str, Any], refused: bool
) -> None:
    values = {"name": "x", "pairs": {"source": "example"}, "teacher": teacher, "filters": [{"confidence": given}]}
    if not refused:
        RunConfig.model_validate(values)
        return
    with pytest.raises(ValidationError, match="filters.confidence would drop every trace"):
        RunConfig.model_validate(values)


def test_a_grade_is_sure_by_the_side_that_it_counts_for() -> None:
    graded = {"teacher": '{"prompt": "graded_4"}', "p_relevant": 0.95}
    assert put_out(PAIR, trace(verdict=2, **graded), ["confidence"]) is None
    assert put_out(PAIR, trace(verdict=1, **graded), ["confidence"]) is not None


def test_unlabelled_pairs_are_kept_or_dropped_as_said() -> None:
    pair = make_pair("q", "d", "query", "passage")
    given = trace(pair_id=pair.pair_id)
    assert put_out(pair, given, ["verdict_matches_label"]) is None
    reason = put_out(pair, given, [{"verdict_matches_label": {"unlabelled": "drop"}}])
    assert reason == ("verdict_matches_label", "the pair has no label to compare the verdict with")


def test_the_first_filter_that_objects_gives_the_reason() -> None:
    broken = trace(finish_reason="length", verdict=None, reasoning="")
    assert put_out(PAIR, broken, ["parses", "finished"])[0] == "parses"  # type: ignore[index]
    assert put_out(PAIR, broken, ["finished", "parses"])[0] == "finished"  # type: ignore[index]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["finishd"], "did you mean 'finished'"),
        ([{"length": {}, "parses": {}}], "is no filter"),
        ("finished", "filters are a list"),
        ([7], "7 is no filter"),
    ],
)
def test_wrong_lists_are_refused(entries: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FilterSettings.model_validate(entries)


def test_an_unknown_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_token"):
        build(FilterSettings.model_validate([{"length": {"max_token": 5}}]), Tools())


traces = st.lists(
    st.builds(
        trace,
        verdict=st.sampled_from([0, 1, None]),
        finish_reason=st.sampled_from(["stop", "length"]),
        reasoning=st.sampled_from(["", "short", "a reasoning that is long enough"]),
        completion_tokens=st.integers(0, 100),
        error=st.sampled_from([None, None, "400: bad request", "not_asked: no room"]),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(traces, st.permutations([*DEFAULT, {"length": {"max_tokens": 50}}]))
def test_counts_add_up_whatever_comes(given_traces: list[Trace], filters: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        traces = [replace(one, sample=n) for n, one in enumerate(given_traces)]
        found = in_folder(Path(folder), [PAIR], traces, FilterSettings.model_validate(filters))
    kept, rejected, counts = found.kept, found.rejected, found.counts
    assert counts["samples"] == len(given_traces)
    assert counts["samples"] == len(kept) + len(rejected) + counts["failed"] + counts["not_asked"]
    assert sum(each["rejected"] for each in counts["by_filter"].values()) == len(rejected)
    assert all(each.reason for each in rejected)
