"""Answers that are taken over from another run's journal: once each, marked, and billed to nobody here."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from distill.records import Answer, JournalEntry
from teacher.earlier import take_over
from teacher.estimate import journal_at
from teacher.journal import Journal, encode
from teacher.settings import TeacherSettings

SETTINGS = TeacherSettings.model_validate({"source": "example", "budget_tokens": 100})


def write_journal(folder: Path, entries: list[JournalEntry]) -> None:
    with closing(Journal(folder, folder)) as journal:
        journal.append([encode(entry) for entry in entries])


def answer(name: str, content: str = "true") -> JournalEntry:
    return JournalEntry(Answer(name, "because", content, prompt_tokens=100, completion_tokens=50, cost_usd=0.5))


def test_answers_come_over_once_and_count_in_no_budget(tmp_path: Path) -> None:
    before, folder = tmp_path / "before", tmp_path / "traces"
    failed = JournalEntry(Answer("failed", error="refused: no", finish_reason="error"))
    bill = JournalEntry(Answer("a", prompt_tokens=10, cost_usd=0.1), "empty")
    write_journal(before, [bill, answer("a"), answer("a", "false"), answer("b"), failed])
    (next(before.glob("*.jsonl"))).open("ab").write(b'{"id": "torn", "reas')  # what a kill leaves
    write_journal(folder / "journal", [answer("own")])
    assert take_over(str(before), SETTINGS, folder) == 2
    lines = [json.loads(line) for part in sorted((folder / "journal").glob("*.jsonl")) for line in part.open()]
    assert [(line["id"], line.get("earlier", False)) for line in lines] == [("own", False), ("a", True), ("b", True)]
    with journal_at(str(folder / "journal")) as index:
        assert (index.spent_usd, index.spent_tokens, index.unusable_usd) == (0.5, 150, 0.0), "its own alone"
        assert [index.has(name) for name in ("own", "a", "b", "failed", "torn")] == [True, True, True, False, False]
        found = index.answer("a")
        assert found is not None and (found.content, found.cost_usd) == ("true", 0.5), "the first answer stays"
    assert take_over(str(before), SETTINGS, folder) == 0


def test_it_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import teacher.earlier as earlier

    monkeypatch.setattr(earlier, "BLOCK", 3)
    before, folder = tmp_path / "before", tmp_path / "traces"
    write_journal(before, [answer(f"n{number}") for number in range(10)])
    real, calls = earlier._copy, []

    def killed(session: object, block: dict[str, bytes]) -> int:
        calls.append(len(block))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(session, block)  # type: ignore[arg-type]

    monkeypatch.setattr(earlier, "_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        take_over(str(before), SETTINGS, folder)
    monkeypatch.setattr(earlier, "_copy", real)
    assert take_over(str(before), SETTINGS, folder) == 4
    with journal_at(str(folder / "journal")) as index:
        assert all(index.has(f"n{number}") for number in range(10)) and index.spent_tokens == 0


def test_what_failed_here_is_answered_by_what_was_answered_there(tmp_path: Path) -> None:
    before, folder = tmp_path / "before", tmp_path / "traces"
    write_journal(before, [answer("a")])
    write_journal(folder / "journal", [JournalEntry(Answer("a", error="deadline: late", finish_reason="error"))])
    assert take_over(str(before), SETTINGS, folder) == 1
    with journal_at(str(folder / "journal")) as index:
        found = index.answer("a")
    assert found is not None and found.error is None
