"""The pipeline from Python: `distill.run` and a function for each stage, and a run's rows. `distill/__init__.py` loads
it when one of its names is used; the command line runs the same stages by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from distill import store
from distill.config import resolved
from distill.errors import DataError, RunFolderError
from distill.plugins import is_external
from distill.records import Example, LabelledPair, Pair, Rejected, Trace
from distill.results import Json, RunMetrics, read_as
from distill.urls import is_storage

if TYPE_CHECKING:
    import datasets
    import pandas as pd

Row = TypeVar("Row")


class Rows(Generic[Row]):
    """Rows of a run, read from its Parquet files each time they are iterated over, one batch in memory.

    Empty where the stage is not done. Raises DataError for a file that cannot be read.
    """

    def __init__(self, folder: Path, kind: type[Row]) -> None:
        self.folder, self.kind = folder, kind

    def __iter__(self) -> Iterator[Row]:
        return store.read_rows(self.folder, self.kind) if self.folder.is_dir() else iter(())

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.kind.__name__} in {self.folder}>"

    def __len__(self) -> int:
        import pyarrow.parquet as pq

        return sum(pq.read_metadata(file).num_rows for file in self._files())

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame, with a column for each field of the row; integers stay so next to missing ones."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.dataset as ds

        schema = store.schema_of(self.kind)
        table = ds.dataset(self._files(), schema=schema, format="parquet").to_table() if self._files() else None
        frame: pd.DataFrame = (table or schema.empty_table()).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        return frame

    def to_datasets(self) -> datasets.Dataset:
        """All rows as a dataset of Hugging Face's `datasets`, mapped from a file of Arrow in its cache.

        Raises DataError where there are no rows.
        """
        from datasets import Dataset

        if not self._files():
            raise DataError(f"{self.folder}: holds no rows yet; run the stage that makes them")
        return Dataset.from_parquet([str(file) for file in self._files()])

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))


@dataclass(frozen=True, slots=True)
class Student:
    """A trained student: `folder` holds its weights, which transformers and `distill.rerank.Reranker` load."""

    name: str
    folder: Path
    examples: Rows[Example] | Rows[LabelledPair]


class Run:
    """A run, finished or not: a folder of this machine, or a URL, of which what is finished is fetched into one.

    Raises RunFolderError where the folder is no run's, ConfigError where there is no run at the URL.
    """

    def __init__(self, folder: str | Path) -> None:
        place = _place(folder)
        if isinstance(place, str):
            from distill.pipeline.mirror import fetched

            place = fetched(place)
        self.folder = place
        if not (self.folder / "config.yaml").is_file():
            raise RunFolderError(f"{self.folder}: holds no config.yaml, so it is no run; `distill runs` lists them")

    def __repr__(self) -> str:
        return f"distill.Run({str(self.folder)!r})"

    @property
    def config(self) -> dict[str, Json]:
        """The configuration as it was used, every default filled in."""
        return resolved(self.folder) or {}

    @property
    def pairs(self) -> Rows[Pair]:
        """Queries and passages with their labels."""
        return Rows(self.folder / "pairs", Pair)

    @property
    def traces(self) -> Rows[Trace]:
        """Every answer of the teacher, joined to its pair by `pair_id`."""
        return Rows(self.folder / "traces", Trace)

    @property
    def kept(self) -> Rows[Trace]:
        """The traces that passed all filters."""
        return Rows(self.folder / "kept", Trace)

    @property
    def rejected(self) -> Rows[Rejected]:
        """The traces that did not, each with the filter and its reason."""
        return Rows(self.folder / "rejected", Rejected)

    @property
    def metrics(self) -> RunMetrics:
        """What the stages counted and what was measured, as metrics.json has it now."""
        return read_as(RunMetrics, store.read_json(self.folder / "metrics.json"))

    @property
    def students(self) -> dict[str, Student]:
        """The trained students by name; empty before training has ended."""
        manifest = store.read_manifest(self.folder / "students")
        names = manifest["result"]["students"] if manifest else {}
        return {
            name: Student(
                name, self.folder / "students" / name, _examples(self.folder / "dataset" / name, made["target"])
            )
            for name, made in names.items()
        }

    @property
    def report(self) -> Path:
        """The path of the report, one HTML file."""
        return self.folder / "report.html"


def _examples(folder: Path, target: str) -> Rows[Example] | Rows[LabelledPair]:
    """What a student of this target was trained on."""
    from sft.targets import pair_target

    if not is_external(target) and pair_target(target) is not None:
        return Rows(folder, LabelledPair)
    return Rows(folder, Example)


Overrides = Mapping[str, Json]
"""{key path: value} on top of the configuration, such as {"sft.training.max_steps": 100}."""


def run(
    config: str | Path,
    overrides: Overrides | None = None,
    *,
    out: str | Path | None = None,
    since: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """All stages of a configuration's file, as `distill run` does; what is unchanged is not made again.

    `out` is the run folder (default: runs/NAME) or a URL of object storage. `since` is an earlier run, or its URL, that
    this one refreshes. `quiet` prints no progress on stderr. Raises InputError for what a user can mend, Stopped where
    work is left that a second call takes up.
    """
    return _execute("run", config, overrides, out, quiet, since=since)


def make_pairs(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The stage `pairs`: queries and passages with labels, mined negatives included. Arguments and errors as `run`."""
    return _execute("pairs", config, overrides, out, quiet)


def ask_teacher(
    config: str | Path,
    overrides: Overrides | None = None,
    *,
    out: str | Path | None = None,
    retry_failed: bool = False,
    quiet: bool = False,
) -> Run:
    """The stage `trace`: the teacher is asked about each pair. Arguments and errors as `run`.

    `retry_failed` asks again what failed for good.
    """
    return _execute("trace", config, overrides, out, quiet, retry_failed)


def filter_traces(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The stage `filter`: traces that pass all filters are kept. Arguments and errors as `run`."""
    return _execute("filter", config, overrides, out, quiet)


def make_dataset(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The stage `dataset`: training rows for each student. Arguments and errors as `run`."""
    return _execute("dataset", config, overrides, out, quiet)


def train(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The stage `sft`: the students are trained. Arguments and errors as `run`."""
    return _execute("sft", config, overrides, out, quiet)


def evaluate(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The stage `evaluate`: the first stage's lists are reranked and measured. Arguments and errors as `run`."""
    return _execute("evaluate", config, overrides, out, quiet)


def write_report(
    config: str | Path, overrides: Overrides | None = None, *, out: str | Path | None = None, quiet: bool = False
) -> Run:
    """The report of what is in the run folder. Arguments and errors as `run`."""
    return _execute("report", config, overrides, out, quiet)


def _execute(
    name: str,
    config: str | Path,
    overrides: Overrides | None,
    out: str | Path | None,
    quiet: bool,
    retry_failed: bool = False,
    since: str | Path | None = None,
) -> Run:
    from distill.pipeline.execute import checked_stages, configured, execute, refreshing

    texts = [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()]
    if since is not None:
        texts.append(refreshing(_place(since)))
    made = configured(Path(config), texts, None if out is None else _place(out), quiet)
    execute(made, checked_stages(made, name, texts), name, texts, retry_failed)
    return Run(made.folder)


def _place(folder: str | Path) -> Path | str:
    """A folder of this machine, or a URL as text."""
    return folder if isinstance(folder, str) and is_storage(folder) else Path(folder)
