"""How many rows a run would train on, and how long they are, from what is there. Used by `dry_run` and `check`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from distill import store
from distill.pipeline.run import Run
from distill.records import Example, LabelledPair, Pair
from distill.tables import counted

if TYPE_CHECKING:
    from sft.estimate.estimate import TrainingData
    from sft.settings import SftSettings

EXAMPLE = (86, 45)  # tokens of the embedded example's prompts and traces, in the mean
KEPT_SHARE = 0.75  # of pairs whose trace passes the filters: Rank1 kept 85 % and then 90 % of what was left


def mean_tokens(run: Run) -> tuple[float, float]:
    """Tokens of a prompt and of a trace in the mean, as `sft.assume` or the histogram of real lengths has them."""
    from sft.estimate.lengths import assumed

    settings = assumed_lengths(run, run.config.sft).assume
    rows = assumed(2000, "think", settings.prompt_tokens, settings.trace_tokens)
    return sum(row.prompt for row in rows) / len(rows), sum(row.completion for row in rows) / len(rows)


def assumed_lengths(run: Run, settings: SftSettings) -> SftSettings:
    """The settings; with the embedded example those that assume the lengths of its texts."""
    if run.config.pairs.source != "example" or settings.assume.prompt_tokens is not None:
        return settings
    lengths = {"prompt_tokens": EXAMPLE[0], "trace_tokens": EXAMPLE[1]}
    return settings.model_copy(update={"assume": settings.assume.model_copy(update=lengths)})


def training_data(
    run: Run,
    settings: SftSettings,
    pairs: Callable[[], tuple[int | None, list[tuple[Pair, str | None]]]] = lambda: (None, []),
) -> TrainingData:
    """What is known of the rows to train on: of the dataset, else of the kept traces, else of `pairs()`, which are how
    many and the first with their reasoning, None where it is not there yet."""
    from sft.estimate.estimate import assumed_data, known_data
    from sft.estimate.lengths import SIMULATED, estimated, estimated_pairs, of_pairs, of_traces
    from sft.targets import pair_target, target_of

    if store.read_manifest(run.dataset) is not None:
        folder = run.dataset
        names = [student.name for student in settings.targets if (folder / student.name).is_dir()]
        pairs_of = {student.name for student in settings.targets if pair_target(student.target) is not None}
        rows = {
            name: estimated_pairs(store.read_rows(folder / name, LabelledPair))
            if name in pairs_of
            else estimated(store.read_rows(folder / name, Example))
            for name in names
        }
        each = {student.name: len(target_of(student.target).rows_with_reasoning()) for student in settings.targets}
        traces = max((len(found) // each[name] for name, found in rows.items()), default=0)
        return known_data(rows, traces, "the run's dataset")
    if store.read_manifest(run.kept) is not None:
        changed = {pair.pair_id: pair for pair in store.read_rows(run.changed, Pair)}
        kept = (row for row in store.read_joined(run.pairs, run.kept, changed) if row[0].split == "train")
        known = list(islice(kept, SIMULATED))
        return known_data(of_traces(known, settings), len(known) + sum(1 for _ in kept), "the run's traces")
    there, first = pairs()
    if there is None:
        return assumed_data(settings, None, "no data here, sft.assume")
    teacher = run.config.teacher
    labels = teacher.source == "labels"
    count = there if labels else round(there * KEPT_SHARE)
    what = counted(there, "pair" if labels or teacher.asks or not first else "trace")
    basis = f"all of {what}, whose labels are the answers" if labels else f"{KEPT_SHARE:.0%} of {what}"
    return known_data(of_pairs(first, settings), count, basis) if first else assumed_data(settings, count, basis)
