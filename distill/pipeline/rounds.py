"""Rounds: `rounds: 2` trains a student on the traces that the filters leave, and lets it judge them for `self_filter`.

An earlier round lies in `round-N/` of the run and is a stage of its line: its own filters, dataset and one student,
over the run's pairs and traces (nothing is asked again). Only the last round has all students, and is evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill import store
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, run_stages
from distill.publish.settings import DatasetSettings
from distill.records import Judgement, Pair
from filters.settings import FilterSettings
from sft.settings import StudentSettings

SHARED = ("pairs", "traces", "example")  # the run's own, whatever the round
ROUND = ("filter", "dataset", "sft")
SELF_FILTER = "self_filter"
TASK = 2048  # pairs that are judged before they are written down: what a kill can cost


class Round(Run):
    """An earlier round as a run of its own, from 1; its pairs and traces are the parent's."""

    def __init__(self, parent: Run, number: int) -> None:
        folder = parent.folder / f"round-{number}"
        super().__init__(_config(parent.config, number), folder, parent.origin, parent.quiet)
        self.parent, self.number = parent, number

    def at(self, folder: str) -> Path:
        return self.parent.at(folder) if folder in SHARED else super().at(folder)

    def say(self, text: str) -> None:
        self.parent.say(f"round {self.number}, {text}")


def line_of(config: Any, line: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The line with the earlier rounds before its filters."""
    at = next(n for n, stage in enumerate(line) if stage.name == ROUND[0])
    within = tuple(stage for stage in line if stage.name in ROUND)
    return line[:at] + tuple(_stage(number, within) for number in range(1, config.rounds)) + line[at:]


def previous(run: Run) -> Round | None:
    """The round whose student judges for this one's filters; None in the first."""
    number = run.number - 1 if isinstance(run, Round) else run.config.rounds - 1
    return Round(run.parent if isinstance(run, Round) else run, number) if number else None


def _config(config: Any, number: int) -> Any:
    """What the run's configuration means for an earlier round: one student, the first without self_filter."""
    filters = [entry for entry in config.filters.root if number > 1 or SELF_FILTER not in entry]
    sft = config.sft.model_copy(update={"targets": [first_student(config.sft.targets)]})
    changes = {"filters": FilterSettings.model_construct(root=filters), "sft": sft, "dataset": DatasetSettings()}
    return config.model_copy(update=changes)


def first_student(targets: Sequence[StudentSettings]) -> StudentSettings:
    """The student of an earlier round: the first plain one that thinks, else the first plain one."""
    plain = [each for each in targets if each.time_of is None and not each.shuffle_traces and each.target != "mixed"]
    thinking = [each for each in plain if each.target == "think"]
    return next(iter([*thinking, *plain]), StudentSettings(target="think"))


def _stage(number: int, within: tuple[Stage, ...]) -> Stage:
    name = f"round-{number}"
    needs = ("pairs", "traces", f"round-{number - 1}")[: 3 if number > 1 else 2]

    def settings(run: Run) -> Any:
        return {stage.name: stage.settings(Round(run, number)) for stage in within}

    def make(run: Run) -> dict[str, Any]:
        here = Round(run, number)
        here.folder.mkdir(parents=True, exist_ok=True)
        here.write_config()
        run_stages(here, within, ROUND)
        counts = here.metrics()["stages"]
        (student,) = counts["sft"]["students"]
        filtered = {key: counts["filter"][key] for key in ("kept", "rejected", "by_filter")}
        return {**filtered, "student": student, "seconds_by_stage": {n: counts[n]["seconds"] for n in ROUND}}

    return Stage(name, name, needs, settings, lambda run: {n: run.data_hash(n) for n in needs}, make)


class Scores:
    """An earlier round's student judges pairs: once each, whatever ends the process, in `scores.jsonl` of its round."""

    def __init__(self, judge: Round) -> None:
        self.round = judge
        self.student = first_student(judge.config.sft.targets)
        self.file = judge.folder / "scores.jsonl"
        self.known: dict[str, Judgement] | None = None

    @property
    def identity(self) -> str:
        """What decides its judgements: the student, and how long it may think."""
        evaluation = self.round.config.evaluation
        return store.fingerprint([self.round.data_hash("students"), self.mode, evaluation.max_new_tokens])

    @property
    def mode(self) -> str:
        """As it was trained."""
        return "think" if self.student.target == "think" else "direct"

    def __call__(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement a pair, in order; its reasoning is not kept."""
        if self.known is None:
            self.known = dict(self._read())
        left = [pair for pair in pairs if pair.pair_id not in self.known]
        if left:
            self._judge(left)
        return [self.known[pair.pair_id] for pair in pairs]

    def _judge(self, pairs: list[Pair]) -> None:
        from distill.rerank.pool import Task, judge

        assert self.known is not None
        model = str(self.round.folder / "students" / self.student.name)
        parts = {f"{n}": pairs[n : n + TASK] for n in range(0, len(pairs), TASK)}
        tasks = [Task(name, model, self.mode, part) for name, part in parts.items()]
        evaluation = self.round.config.evaluation
        done = len(self.known)
        with open(self.file, "a", encoding="utf-8") as out:
            out.write("\n" if out.tell() else "")  # after a line that a kill tore
            for name, judgements, _ in judge(tasks, lambda event: None, evaluation.batch, evaluation.max_new_tokens):
                for pair, each in zip(parts[name], judgements, strict=True):
                    self.known[pair.pair_id] = each
                    line = {"student": self.identity, "pair_id": pair.pair_id, "score": each.score}
                    out.write(json.dumps(line | {"margin": each.margin, "verdict": each.verdict}) + "\n")
                out.flush()
                self.round.say(f"self_filter: {len(self.known):,} of {done + len(pairs):,} pairs judged")

    def _read(self) -> Iterator[tuple[str, Judgement]]:
        """What this very student has said; a line torn by a kill, and other students', are passed over."""
        if not self.file.exists():
            return
        with open(self.file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if row.get("student") == self.identity:
                    said = (row["score"], row["margin"], row["verdict"])
                    yield row["pair_id"], Judgement("", "", *said, "", self.mode, 0, "stop")
