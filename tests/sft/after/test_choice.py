"""The choice of pairs on which samples of a student disagree, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import DataError
from distill.prompts import PROMPT_NAME
from sft.after import choice
from sft.after.settings import ThenSettings
from sft.after.tasks import Task, tasks
from sft.settings import SftSettings
from sft.student import load_base
from tests.sft.kept import rows_of
from tests.sft.tiny import base_folder, world

THEN = ThenSettings.model_validate({"method": "self_distil", "steps": 2, "prompts": 2, "select": "disagree"})


def chosen(folder: Path) -> tuple[list[Task], list[Task], int]:
    """(all rows, those that are chosen, tokens written)."""
    base = base_folder(folder / "base", vocab_size=420)
    model, tokenizer = load_base(str(base), SftSettings(base=str(base)))
    rows = list(tasks(rows_of(*world(20))()))
    return rows, *choice.disagreeing(model, tokenizer, rows, THEN, PROMPT_NAME, 4, 0, folder)


def test_pairs_whose_samples_differ_are_kept_and_sampled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a student of random weights gives no verdict, so the parity of an answer's length is taken for one
    monkeypatch.setattr(choice, "verdict_of", lambda text, words: len(text) % 2)
    rows, kept, tokens = chosen(tmp_path)
    assert 2 <= len(kept) <= 2 * THEN.steps * THEN.prompts <= len(rows) and tokens >= 4 * len(kept)
    monkeypatch.setattr(choice, "verdict_of", lambda text, words: pytest.fail("sampled again"))
    assert chosen(tmp_path)[1:] == (kept, tokens), "a training that was killed takes the choice from its folder"


def test_a_student_that_is_sure_of_all_pairs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "verdict_of", lambda text, words: 1)
    with pytest.raises(DataError, match=r"disagree on 0 of 8 pairs, fewer than the 2 of a step; set select: random"):
        chosen(tmp_path)
