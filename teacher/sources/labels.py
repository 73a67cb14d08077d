"""`source: labels`: the pairs' own labels as verdicts without a reasoning, for students that answer directly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from distill.prompts import PROMPTS
from distill.records import Answer, Pair, digest
from teacher.sources.base import TeacherSource


class Labels(TeacherSource):
    """Nobody is asked: what people, clicks or an earlier judge said is what the student learns."""

    asks: ClassVar[bool] = False

    def imported(self, pairs: Iterable[Pair], scratch: Path) -> Iterator[tuple[Pair, int, Answer | None]]:
        """One verdict a pair; of a graded prompt the word of the grade, the highest at the most. None without label."""
        words = PROMPTS[self.settings.prompt].verdicts
        for pair in pairs:
            if pair.label is None or pair.relevant is None:
                yield pair, 0, None
                continue
            grade = int(pair.relevant) if len(words) == 2 else min(int(pair.label), len(words) - 1)
            yield pair, 0, Answer(digest("labels", pair.pair_id), content=words[grade].strip())
