"""What `--dry-run` says beyond the checked configuration: what asking and training would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill import store
from distill.pipeline.pairs import pairs_without_teacher
from distill.pipeline.run import Run
from distill.pipeline.sources import data_folder, sft_of
from distill.pipeline.trace import estimate_lines
from distill.records import Example, Pair, Trace

if TYPE_CHECKING:
    from sft.estimate.estimate import TrainingData
    from sft.settings import SftSettings

REMOTE = ("huggingface", "ir_datasets")  # sources of pairs that are not looked at for the training's estimate
EXAMPLE = (86, 45)  # tokens of the embedded example's prompts and traces, in the mean
KEPT_SHARE = 0.75  # of pairs whose trace passes the filters: Rank1 kept 85 % and then 90 % of what was left


def has_data(run: Run) -> bool:
    """Whether pairs can be counted: they were made, or their source lies there (one on a hub is taken to be there)."""
    pairs = run.config.pairs
    if pairs.source in ("example", *REMOTE) or store.read_manifest(run.pairs) is not None:
        return True
    return data_folder(run, pairs).exists()


def teacher_lines(run: Run) -> list[str]:
    """What asking would take."""
    return estimate_lines(run) if has_data(run) else ["no estimate without the data"]


def training_lines(run: Run) -> list[str]:
    """What training would take, from the dataset where it is made, else from the pairs, else from sft.assume."""
    from sft.estimate.estimate import describe

    settings = assumed_lengths(run, sft_of(run))
    return describe(settings, training_data(run, settings))


def assumed_lengths(run: Run, settings: SftSettings) -> SftSettings:
    """The settings; with the embedded example those that assume the lengths of its texts."""
    if run.config.pairs.source != "example" or settings.assume.prompt_tokens is not None:
        return settings
    lengths = {"prompt_tokens": EXAMPLE[0], "trace_tokens": EXAMPLE[1]}
    return settings.model_copy(update={"assume": settings.assume.model_copy(update=lengths)})


def training_data(run: Run, settings: SftSettings) -> TrainingData:
    """What is known of the rows to train on: of the dataset, else of the kept traces, else of the pairs."""
    from sft.estimate.estimate import assumed_data, dataset_data
    from sft.estimate.lengths import estimated
    from sft.targets import target_of

    if store.read_manifest(run.dataset) is not None:
        folder = run.dataset
        names = [student.name for student in settings.targets if (folder / student.name).is_dir()]
        rows = {name: estimated(store.read_rows(folder / name, Example)) for name in names}
        each = {student.name: len(target_of(student.target).rows_with_reasoning()) for student in settings.targets}
        return dataset_data(rows, [len(found) // each[name] for name, found in rows.items()])
    if store.read_manifest(run.kept) is not None:
        return assumed_data(settings, sum(1 for _ in store.read_rows(run.kept, Trace)), "the run's traces")
    count = _pairs(run)
    if count is None:
        return assumed_data(settings, None, "no data here, sft.assume")
    return assumed_data(settings, round(count * KEPT_SHARE), f"{KEPT_SHARE:.0%} of {count:,} pairs")


def _pairs(run: Run) -> int | None:
    pairs = run.config.pairs
    if store.read_manifest(run.pairs) is not None:
        return sum(pair.split == "train" for pair in store.read_rows(run.pairs, Pair))
    if pairs.source == "example":
        from distill.example.world import WorldSettings

        world = WorldSettings(**pairs.example)
        return world.queries["train"] * (world.relevant + world.near_misses + world.same_place + world.plain)
    if not has_data(run):
        return None
    made = pairs_without_teacher(run)
    return None if made is None else sum(pair.split == "train" for pair in made)
