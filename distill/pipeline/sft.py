"""The stage `sft`: the students are trained. Called by `distill.pipeline.stages`."""

from __future__ import annotations

from collections.abc import Iterator

from distill import store
from distill.pipeline.dataset import sft_seed
from distill.pipeline.run import Run, dump
from distill.pipeline.sources import base_of
from distill.pipeline.stage import Stage
from distill.records import Example
from distill.results import Counts, Json


def _settings(run: Run) -> Json:
    return {**dump(run.config.sft, exclude={"parallel", "assume", "ray"}), "seed": sft_seed(run)}


def _inputs(run: Run) -> Counts:
    return {"dataset": run.data_hash("dataset")}


def _make(run: Run) -> Counts:
    from sft.stage import train_students

    def texts() -> Iterator[str]:
        for student in run.config.sft.targets:
            for row in store.read_rows(run.dataset / student.name, Example):
                yield row.prompt + row.completion

    manifest = store.read_manifest(run.dataset) or {}
    return train_students(
        run.config.sft.model_copy(update={"base": base_of(run)}),
        run.dataset,
        run.students,
        sft_seed(run),
        manifest["result"]["hashes"],
        texts,
        run.data_hash("kept"),
        run.log,
    )


STAGE = Stage("sft", "students", ("dataset",), _settings, _inputs, _make)
