"""`teacher.source: labels`: verdicts without a reasoning, and without a teacher."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill.records import Trace
from distill.store import read_rows
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs


@pytest.mark.parametrize(
    ("prompt", "expected"), [("rank1", ["false", "false", "true", None]), ("graded_4", ["zero", "one", "two", None])]
)
def test_the_label_is_the_verdict(tmp_path: Path, prompt: str, expected: list[str | None]) -> None:
    labels = [0, 1, 2, None]
    pairs = [replace(pair, label=label, relevant_from=2) for pair, label in zip(make_pairs(4), labels, strict=True)]
    settings = TeacherSettings(source="labels", prompt=prompt)
    counts = trace(pairs, settings, tmp_path / "traces", quiet=True)
    rows = {row.pair_id: row for row in read_rows(tmp_path / "traces", Trace)}
    written = [rows[pair.pair_id] for pair in pairs]
    assert [row.content or None for row in written] == expected
    assert [row.verdict is None for row in written] == [content is None for content in expected]
    assert all(row.reasoning == "" for row in written)
    assert (written[-1].error or "").startswith("not_asked")
    assert (counts["answered"], counts["cost_usd"]) == (3, 0)
