"""The answers of a training after SFT: kept as Parquet in `rollouts/` of the student, and summed up.

Written by `sft.after.train`, read by the report. A part is written with each checkpoint, and named by its last step;
a training that goes on from a checkpoint removes the parts beyond it and writes them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from distill.records import Rollout
from distill.results import ROLLOUTS
from distill.store import read_rows, schema_of, write_table

BINS = 10  # of the histogram of P(true)


class StepMeans(NamedTuple):
    """One step's answers in the mean; `rewards` by name, before their weights, over the answers that have one."""

    step: int
    well_formed: float
    right: float
    tokens: float
    rewards: dict[str, float]


class Rollouts:
    """The answers of a student in its folder `out`; what is not written yet is in `fresh`."""

    def __init__(self, out: Path) -> None:
        self.folder = out / ROLLOUTS
        self.fresh: list[Rollout] = []

    def resume(self, step: int) -> None:
        """Drop what was answered after a step, which is answered again."""
        for path in self._parts():
            if int(path.stem.rpartition("-")[2]) > step:
                path.unlink()

    def flush(self, step: int) -> None:
        """Write what is not written yet as the part that ends with this step."""
        import pyarrow as pa

        if not self.fresh:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        schema = schema_of(Rollout)
        columns = [[getattr(row, name) for row in self.fresh] for name in schema.names]
        path = self.folder / f"part-{step:06d}.parquet"
        temporary = path.with_suffix(".tmp")
        write_table(str(temporary), pa.table(columns, schema=schema))
        temporary.replace(path)
        self.fresh = []

    def rows(self) -> Iterator[Rollout]:
        """All answers in the order of their steps."""
        if self._parts():
            yield from read_rows(self.folder, Rollout)
        yield from self.fresh

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))


def means(rows: list[Rollout]) -> StepMeans:
    """The means of one step's answers."""
    count = len(rows)
    rewards: dict[str, list[float]] = {}
    for row in rows:
        for name, value in json.loads(row.rewards).items():
            if value is not None:
                rewards.setdefault(name, []).append(value)
    return StepMeans(
        rows[0].step,
        sum(row.verdict is not None for row in rows) / count,
        sum(row.verdict == row.grade for row in rows) / count,
        sum(row.tokens for row in rows) / count,
        {name: sum(values) / len(values) for name, values in rewards.items()},
    )


def histogram(rows: list[Rollout]) -> list[int]:
    """How many answers' P(true) lie in each tenth of 0 to 1."""
    counts = [0] * BINS
    for row in rows:
        if row.p_true is not None:
            counts[min(BINS - 1, int(row.p_true * BINS))] += 1
    return counts
