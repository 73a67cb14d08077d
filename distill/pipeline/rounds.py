"""Earlier rounds of a run, and their students as judges for `self_filter`. Used by stages, dataset and filter_tools.

`rounds: 2` trains a student on the traces that the filters leave. An earlier round lies in `round-N/` of the run and is
one of its stages: its own filters, dataset and one student, over the run's pairs and traces (nothing is asked again).
Only the last round has all students, and is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.pipeline import scoring
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.publish.settings import DatasetSettings
from distill.records import Judgement, Pair
from filters.settings import FilterSettings
from sft.student_settings import StudentSettings
from sft.targets import target_of

if TYPE_CHECKING:
    from distill.rerank.scorer import Scorer

SHARED = ("pairs", "traces", "example")  # the run's own, whatever the round
SELF_FILTER = "self_filter"


class Round(Run):
    """An earlier round as a run of its own, from 1; its pairs and traces are the parent's."""

    def __init__(self, parent: Run, number: int) -> None:
        folder = parent.folder / f"round-{number}"
        super().__init__(_config(parent.config, number), folder, parent.origin, parent.quiet)
        self.parent, self.number = parent, number

    def path(self, folder: str) -> Path:
        """The run's own folder where all rounds share it, else the round's."""
        return self.parent.path(folder) if folder in SHARED else super().path(folder)

    def say(self, text: str) -> None:
        """One line on the terminal, with the round's number."""
        self.parent.say(f"round {self.number}, {text}")


def previous(run: Run) -> Round | None:
    """The round whose student judges for this one's filters; None in the first."""
    number = run.number - 1 if isinstance(run, Round) else run.config.rounds - 1
    return Round(run.parent if isinstance(run, Round) else run, number) if number else None


def _config(config: RunConfig, number: int) -> RunConfig:
    """What the run's configuration means for an earlier round: one student, the first without self_filter."""
    filters = [entry for entry in config.filters.root if number > 1 or SELF_FILTER not in entry]
    student = first_student(config.sft.targets).model_copy(update={"then": []})
    sft = config.sft.model_copy(update={"targets": [student]})
    changes = {
        "filters": FilterSettings.model_construct(root=filters),
        "sft": sft,
        "dataset": DatasetSettings(),
        "refresh": None,
    }
    return config.model_copy(update=changes)


def first_student(targets: Sequence[StudentSettings]) -> StudentSettings:
    """The student of an earlier round: the first plain one that thinks, else the first plain one."""
    alone = [s for s in targets if s.time_of is None and s.scores is None and not s.shuffle_traces]
    plain = [student for student in alone if len(target_of(student.target).modes) == 1]
    thinking = [student for student in plain if target_of(student.target).mode == "think"]
    return next(iter([*thinking, *plain]), StudentSettings(target="think"))


class Scores:
    """An earlier round's student judges pairs: once each, whatever ends the process, in `scores.jsonl` of its round."""

    def __init__(self, judge: Round) -> None:
        self.round = judge
        self.student = first_student(judge.config.sft.targets)
        self.scorer: Scorer | None = None

    @property
    def identity(self) -> str:
        """What decides its judgements in the filters' cache: the student, and how long it may think."""
        from distill.rerank.student_format import reasoning_bound

        bound = self.round.config.evaluation.max_new_tokens or reasoning_bound(self.model)
        return store.fingerprint([self.round.data_hash("students"), self.mode, bound])

    @property
    def model(self) -> str:
        """Its folder."""
        return str(self.round.students / self.student.name)

    @property
    def mode(self) -> str:
        """As it was trained."""
        return target_of(self.student.target).mode

    def __call__(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement a pair, in order; its reasoning is not kept.

        A pair that is too long to be read is as likely relevant as not: its trace stays.
        """
        from distill.rerank.journal import Journal
        from distill.rerank.scorer import Scorer

        job = replace(scoring.job_for(self.round, self.student.name, self.model, self.mode, pairs), part=True)
        if self.scorer is None:
            file = self.round.folder / "scores.jsonl"
            journal = Journal(file, aliases={self.identity: job.identity}, reasoning=False)
            self.scorer = Scorer(journal, scoring.shown(self.round, "self_filter", "filter"))
        (judged,) = self.scorer.score([job])
        unread = Judgement("", "", 0.5, 0.0, None, "", self.mode, 0, "stop")
        return [unread if each is None else replace(each, reasoning="") for each in judged.judgements]

    def close(self) -> None:
        """End its processes, and force what they judged to the disk."""
        if self.scorer is not None:
            self.scorer.close()
            self.scorer = None
