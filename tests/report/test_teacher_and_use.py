"""The sections on the teacher's verdicts, on failures by their cause, and on how to use the student."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fabricate import fabricate
from test_report import page_of

from distill import store
from distill.records import Pair, Trace
from distill.report.deploy import section, served
from distill.report.evaluated import evaluation_sets
from distill.report.files import RunFiles
from distill.report.reasons import ReasonCounts
from distill.report.verdicts import lengths, matrix, sureness, worth


def test_the_matrix_counts_every_answered_trace_against_its_label(tmp_path: Path) -> None:
    run = fabricate(tmp_path, upto="filter")
    labels = {pair.pair_id: pair.label for pair in store.read_rows(run / "pairs", Pair)}
    traces = [trace for trace in store.read_rows(run / "traces", Trace) if trace.error is None]
    counted = matrix(RunFiles(run))
    assert counted.total() == len(traces)
    both = sum(trace.verdict == 1 and labels[trace.pair_id] == 1 for trace in traces)
    assert counted["relevant", "relevant"] == both > 0
    assert sum(map(len, lengths(RunFiles(run)).values())) == len(traces)
    graded = json.dumps({"prompt": "graded_4"})  # of five grades, 1 is not relevant
    store.write_rows(run / "traces", [replace(trace, verdict=1, teacher=graded) for trace in traces], Trace)
    assert {verdict for _, verdict in matrix(RunFiles(run))} == {"not relevant"}
    text = page_of(run).text
    assert "Teacher against labels" in text and "tokens a trace" in text


def test_what_each_filter_is_worth_is_counted_by_the_labels(tmp_path: Path) -> None:
    run = fabricate(tmp_path, upto="filter")
    files = RunFiles(run)
    rows = worth(files, matrix(files))
    labels = {pair.pair_id: pair.label for pair in store.read_rows(run / "pairs", Pair)}
    kept = list(store.read_rows(run / "kept", Trace))
    right = sum(trace.verdict == labels[trace.pair_id] for trace in kept)
    assert rows[0].name == "" and rows[-1].among_left == (right, len(kept))
    for of, side in ((1, rows[-1].left_relevant), (0, rows[-1].left_others)):
        about = [trace for trace in kept if labels[trace.pair_id] == of]
        assert side == (sum(trace.verdict == of for trace in about), len(about))
    by_filter = files.counts("filter").by_filter
    assert [row.name for row in rows[1:]] == [name for name, counts in by_filter.items() if counts.rejected]
    for before, row in pairwise(rows):
        assert [was - now for was, now in zip(before.among_left, row.among_left, strict=True)] == list(
            row.among_rejected
        )
    assert f"of {len(kept)}" in (text := page_of(run).text) and "What the filters are worth" in text
    store.write_rows(run / "pairs", [replace(p, label=None) for p in store.read_rows(run / "pairs", Pair)], Pair)
    assert worth(files, matrix(files)) == [] and "What the filters are worth" not in page_of(run).text


def test_how_sure_the_teacher_is_is_shown_where_it_says_so(tmp_path: Path) -> None:
    run = fabricate(tmp_path, upto="filter")
    assert sureness(RunFiles(run)) == {} and "How sure the teacher is" not in page_of(run).text
    labels = {pair.pair_id: pair.label for pair in store.read_rows(run / "pairs", Pair)}
    traces = list(store.read_rows(run / "traces", Trace))
    sure = [replace(trace, p_relevant=0.8 if labels[trace.pair_id] else 0.1) for trace in traces]
    store.write_rows(run / "traces", sure, Trace)
    shares = [0.2 if labels[trace.pair_id] else 0.1 for trace in traces if trace.error is None]
    expected = f"Against the labels of {len(shares)} traces, its ECE is {sum(shares) / len(shares):.3f}"
    assert sureness(RunFiles(run))["calibrated"] == expected
    assert "How sure the teacher is" in (text := page_of(run).text) and expected in text


def test_reasons_are_counted_in_bounded_memory_and_in_few_groups() -> None:
    counts = ReasonCounts()
    for number in range(3000):
        counts.add("length", f"{number} tokens, more than 512")
        counts.add("language", f"stray words “{chr(0x4E00 + number)}”")
    counts.add("parses", "no answer 1", 7)
    found = counts.counts()
    assert found["length", "N tokens, more than N"] == 3000 and found["parses", "no answer 1"] == 7
    stray = {reason: rows for (name, reason), rows in found.items() if name == "language"}
    assert len(stray) == 501 and stray["other reasons"] == 2500 and sum(found.values()) == 6007
    assert counts.group("length", "9 tokens, more than 8") == "N tokens, more than N"


def test_failures_are_grouped_by_their_cause(tmp_path: Path) -> None:
    run = fabricate(tmp_path, pairs=40, upto="trace")
    rows = list(store.read_rows(run / "traces", Trace))
    for at, error in enumerate(("400: too long", "400: too long", "401: no key", "not_asked: budget")):
        rows[at] = replace(rows[at], error=error, verdict=None)
    store.write_rows(run / "traces", rows, Trace)
    text = page_of(run).text
    assert "Failed: 400: too long 2" in text and "Failed: 401: no key 1" in text and "Failed: not_asked" not in text


@pytest.mark.parametrize(
    ("system", "wanted"),
    [
        ("direct", ("direct", "direct", None)),
        ("think.fused", ("think", "think", None)),
        ("think.short", ("think", "budget", 64)),
        ("untrained", ("think", "think", None)),
    ],
)
def test_what_is_served_is_the_student_in_its_mode(
    system: str, wanted: tuple[str, str, int | None], tmp_path: Path
) -> None:
    run = fabricate(tmp_path, gain=0.9)
    modes = {"think": {"systems": {"think.short": {"mode": "budget:64"}, "think": {"mode": "think"}}}}
    store.write_json(run / "evaluation" / "test.modes.json", modes)
    files = RunFiles(run)
    assert served(files, evaluation_sets(files)[0], system) == wanted


def test_the_commands_of_the_box_hold_texts_of_the_run(tmp_path: Path) -> None:
    run = fabricate(tmp_path, gain=0.9, hostile=True)
    files = RunFiles(run)
    made = section(files, evaluation_sets(files))
    assert made is not None
    (_, serve), (_, curl), (_, python) = made["blocks"]
    assert f"--model {run}/students/think --mode think" in serve
    asked = json.loads(shlex.split(curl)[-1])
    assert "cabin in" in asked["query"] and len(asked["documents"]) == 2
    compile(python, "python", "exec")
    assert section(RunFiles(fabricate(tmp_path / "other", upto="filter")), []) is None
