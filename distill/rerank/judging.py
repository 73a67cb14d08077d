"""A student as a function of pairs, for `distill calibrate` and `distill sweep`; the scorer does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from distill.records import Judgement, Pair
from distill.rerank.jobs import Student, job_of, weights_by_hash
from distill.rerank.journal import Journal
from distill.rerank.progress import Progress
from distill.rerank.reranker import failed_text
from distill.rerank.scorer import Scorer

Judge = Callable[[Sequence[Pair], str], list[Judgement]]
"""Pairs and a mode in, judgements out, without those of queries that are too long."""


@contextmanager
def judging(student: Student, journal: Path | None, say: Callable[[str], None]) -> Iterator[Judge]:
    """For a command: pairs and a mode in, judgements out. Queries that are too long are said once, and left out.

    Where `journal` is named, judgements are kept there, and those that are there already are not made again.
    """
    weights = weights_by_hash(student.model)
    first = student.first
    said: set[str] = set()

    def notify(progress: Progress) -> None:
        if progress.warning:
            say(f"warning: {progress.warning}")
        else:
            say(f"{progress.system}: {progress.text()}")

    with Scorer(Journal(journal) if journal else None, notify) as scorer:

        def judge(pairs: Sequence[Pair], mode: str) -> list[Judgement]:
            if mode == "direct" and first is not None:
                job = job_of(mode, first, pairs, weights_by_hash(first.model))
            else:
                job = job_of(mode, replace(student, mode=mode, first=None), pairs, weights)
            (judged,) = scorer.score([job])
            if not said.issuperset(judged.failed):
                say(f"warning: {failed_text(judged.failed)}")
                said.update(judged.failed)
            return judged.found

        yield judge
