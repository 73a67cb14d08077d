"""What can be wrong and can be seen before the teacher is asked. Called by `distill.cli` and the dry run.

Whatever fails later for a reason that could be seen here is a fault of this module.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from distill import store
from distill.config import secret, validate
from distill.errors import ConfigError, DataError, DiskFull, InputError, PluginError
from distill.gguf_base import is_gguf
from distill.inputs import input_path, named
from distill.pipeline import cluster, refresh
from distill.pipeline.pairs import pairs_without_teacher
from distill.pipeline.run import Run
from distill.pipeline.sets import suite_of
from distill.pipeline.sources import collection_of, data_folder, settings_of, sft_of, source_of
from distill.plugins import class_and_place, is_external
from distill.processes import die_with_parent
from distill.ray_cluster import on_cluster
from distill.tables import counted
from distill.urls import is_url

if TYPE_CHECKING:
    from distill.evaluation.settings import SetSettings

REMOTE = ("huggingface", "ir_datasets", "mteb")  # sources that may be read over the network
LOCAL = ("beir", "trec", "table", "tevatron", "texts")  # sources whose path is a file or a folder


class Look(NamedTuple):
    """Something to look at: its name, as `distill doctor` lists it, and what raises where it is not as it must be."""

    name: str
    call: Callable[[], object]


def check(run: Run, stages: Callable[[], Collection[str]] | None = None) -> Collection[str]:
    """Raise for what would stop one of `stages()`, the names of those that have to be made, or asking the teacher.

    Those names are returned.

    The teacher's keys are not looked at where those stages ask nothing.

    Raises ConfigError (settings, keys), DataError (files), InputError (the base model), DiskFull.
    """
    check_settings(run)
    due = stages() if stages else None
    for look in looks(run, due):
        look.call()
    return due or ()


def looks(run: Run, stages: Collection[str] | None) -> Iterator[Look]:
    """What `check` looks at for these stages, for `distill doctor`, which goes on after a fault."""
    yield from _keys(run, stages)
    yield from _of_stages(run, stages or (), network=True)


def warnings(run: Run, stages: Callable[[], Collection[str]]) -> list[str]:
    """For the dry run: what a real run would stop at because of this machine, its keys and its files.

    Nothing is sent or downloaded. Raises ConfigError for what is wrong whatever the machine, a
    file of one's own among it.
    """
    check_settings(run)
    found, due = [], stages()
    for look in (*_keys(run, due), *_of_stages(run, due, network=False)):
        try:
            look.call()
        except PluginError:
            raise
        except (InputError, DiskFull) as error:
            found.append(named(str(error)))
    return found


def check_settings(run: Run) -> None:
    """Raise ConfigError for settings that contradict each other, and for measures that cannot be computed."""
    from distill.pipeline.modes import check_systems
    from distill.statistics.measures import parse_measures

    check_systems(run)
    refresh.check(run)
    if run.config.pairs.example:
        from distill.example.world import WorldSettings

        validate(WorldSettings, run.config.pairs.example, f"{run.origin}: pairs.example")
    if run.config.teacher.example:
        from distill.example.teacher import TeacherSettings

        validate(TeacherSettings, run.config.teacher.example, f"{run.origin}: teacher.example")
    pairs = run.config.pairs
    if pairs.asks and not run.config.teacher.asks:
        raise ConfigError(
            "pairs: judge, synthesize, instructions and poison ask, and teacher.source "
            f"{run.config.teacher.source} answers nothing"
        )
    made = set(pairs.split) if isinstance(pairs.split, dict) else {"train"}
    made = made if pairs.synthesize else made & set(pairs.ask)
    for number, entry in enumerate(run.config.evaluation.sets):
        if entry.source == "example" and pairs.source != "example":
            raise ConfigError(f"evaluation.sets.{number}: source example needs pairs.source: example")
        if entry.source == "pairs" and entry.split not in made:
            raise ConfigError(
                f"evaluation.sets.{number}.split: {entry.split!r} is no part of the pairs that are made; "
                f"there is {', '.join(sorted(made))} (pairs.split, pairs.ask)"
            )
    try:
        parse_measures(run.config.evaluation.measures)
    except ConfigError as error:
        raise ConfigError(f"evaluation.measures: {error}") from None


def _keys(run: Run, stages: Collection[str] | None) -> Iterator[Look]:
    if stages is not None and set(stages) <= {"pairs"} and not run.config.pairs.asks:
        return
    for number, endpoint in enumerate(run.config.teacher.endpoints):
        for key, variable in endpoint.variables(number).items():
            yield Look("key", partial(secret, variable, key))


def _of_stages(run: Run, stages: Collection[str], network: bool) -> Iterator[Look]:
    """What is looked at for the stages; without `network`, only what lies on this machine.

    Then torch and TRL are looked at in a process of its own: a run needs them later, a dry run does not, and on a
    cluster neither does the driver. There TRL is looked at on a node that trains.
    """
    bound = partial if network and not on_cluster() else partial(partial, _in_a_process)
    if "pairs" in stages:
        yield Look("pairs", partial(_check_pairs, run))
    if {"pairs", "evaluate"} & set(stages):
        for number, entry in enumerate(run.config.evaluation.sets):
            if network or entry.source not in REMOTE:
                yield Look(f"set {entry.name}", partial(_check_set, run, entry, f"evaluation.sets.{number}"))
    if "trace" in stages:
        yield Look("teacher's files", run.config.teacher.made_source().check_files)
    if "sft" in stages:
        from sft import check as training
        from sft.targets import pair_target

        settings = sft_of(run, made_alone=True)
        yield Look("base model", partial(_check_base, run, network, bound))
        if any(pair_target(student.target) is not None for student in settings.targets):
            yield Look("encoders", bound(training.check_encoders, settings, run.base, network))
        where = partial(partial, cluster.on_a_node) if network and on_cluster() else bound
        if any(is_external(name) for name in settings.rewards):
            from sft.after.check import try_rewards

            yield Look("rewards", bound(try_rewards, settings))
        if any(then.teacher for student in settings.targets for then in student.then):
            from sft.after.check import check_teachers

            yield Look("teachers after SFT", bound(check_teachers, settings))
        yield Look("training", where(training.check_training, settings, run.config.seed, run.students))
        if network:
            yield Look("trackers", partial(training.check_trackers, settings))
        yield Look("memory", partial(_check_memory, run))
        yield Look("disk", lambda: training.check_disk(sft_of(run, made_alone=True), run.students))
    elif "evaluate" in stages:
        from sft import check as training

        yield Look("base model", partial(_check_base, run, network, bound))


def _check_base(run: Run, network: bool, bound: Callable[..., Callable[[], object]]) -> None:
    """Raise InputError where the base cannot be trained; a GGUF file is converted only where a run would need it."""
    from sft import check as training

    settings = sft_of(run, made_alone=not network)
    if not network and is_gguf(settings.base):
        if not (run.base / settings.base).is_file():
            raise InputError(f"sft.base: {settings.base}: no such file")
        return
    bound(training.check_base, settings, network)()


def _in_a_process(function: Callable[..., None], *arguments: object) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), die_with_parent) as process:
        process.submit(function, *arguments).result()


def _check_memory(run: Run) -> None:
    """By the dataset's lengths where it is made, else by assumed ones: memory hangs on lengths and not on counts."""
    from distill.pipeline.row_lengths import assumed_lengths, training_data
    from sft.check import check_memory
    from sft.estimate.estimate import assumed_data

    made = store.read_manifest(run.dataset) is not None
    settings = assumed_lengths(run, sft_of(run, made_alone=True))
    check_memory(settings, training_data(run, settings) if made else assumed_data(settings, None, "no dataset yet"))


def _check_pairs(run: Run) -> None:
    from distill.pipeline.amounts import has_data

    if not has_data(run):
        raise DataError(f"pairs.path: {run.config.pairs.path}: no such folder or file")


def _check_set(run: Run, entry: SetSettings, key: str) -> None:
    """Raise DataError or ConfigError where a set's files, split, judgements or first-stage run cannot be used."""
    pairs = run.config.pairs
    if entry.source == pairs.source and entry.source in LOCAL and _is_missing(run, entry.path):
        raise DataError(
            f"{key}.path: {entry.path}: no such file or folder"
            + ("" if _is_missing(run, pairs.path) else f"; pairs.path is {pairs.path}: override {key}.path as well")
        )
    from distill.evaluation.suites.base import check_own_lists
    from distill.evaluation.suites.hub import known_task
    from distill.files.runs import read_run

    judged: set[str] | None = None
    if entry.source == "pairs":
        _check_part(run, entry, key)
    elif entry.source == "mteb":
        known_task(entry.path)
    elif entry.kind not in ("beir", "dl19"):
        judged = set(suite_of(run, entry).qrels)  # small sets, with rules of their own
    elif entry.source not in ("pairs", "example"):
        try:
            judged = _judged_queries(run, entry, key)
        except (ConfigError, DataError) as error:
            parts = pairs.split if isinstance(pairs.split, dict) else {}
            if entry.split in parts and entry.path != pairs.path and "split" in str(error):
                hint = f"the part {entry.split!r} of pairs.split is of {pairs.path}: give {key}.path the same path"
                raise type(error)(f"{error}; {hint}") from None
            raise
        if entry.source not in REMOTE:
            judged = {query for query, labels in collection_of(run, entry).qrels.items() if labels}
            _refuse_empty(bool(judged), entry, key)
        if entry.source == "beir":
            whole = entry.queries is None and isinstance(settings_of(run, entry).split, str)
            check_own_lists(data_folder(run, entry, entry.split), sorted(judged) if whole else ())
    if isinstance(entry.first_stage, str) and entry.first_stage != "bm25":
        ranked = read_run(input_path(run.base, entry.first_stage))
        if judged is not None and not judged & set(ranked):
            raise DataError(
                f"{key}.first_stage: {entry.first_stage} has none of the queries that are judged in split "
                f"{entry.split!r}; give the run of this set"
            )


def read_pairs(run: Run) -> tuple[str, list[str]]:
    """(how many pairs the run would make, of which labels; what is odd in the labels), by the stage's own reader.

    Nothing is asked or written: the embedded example's, which are made in the run's folder, are counted alone. Raises
    what the stage would raise.
    """
    _check_pairs(run)
    if run.config.pairs.source == "example":
        from distill.pipeline.amounts import pairs_of_example

        return f"{counted(pairs_of_example(run), 'pair')} of the embedded example", []
    notes: list[str] = []
    pairs = pairs_without_teacher(run, notes.append)
    if pairs is None:
        return "the teacher writes the queries", []
    found = Counter(pair.relevant for pair in pairs)
    parts = [f"{found[True]:,} relevant", f"{found[False]:,} not"]
    parts += [f"{found[None]:,} without a label"] if found[None] else []
    return f"{counted(found.total(), 'pair')}: {', '.join(parts)}", label_notes(notes)


def label_notes(notes: Iterable[str]) -> list[str]:
    """Those of the notes of the stage `pairs` that speak of odd or missing labels."""
    return [note for note in notes if note.startswith("labels: ") or "without a label" in note]


def check_sets(run: Run) -> None:
    """Raise for an evaluation set that cannot be used, as `check` does."""
    for number, entry in enumerate(run.config.evaluation.sets):
        _check_set(run, entry, f"evaluation.sets.{number}")


def _check_part(run: Run, entry: SetSettings, key: str) -> None:
    """Raise ConfigError where the part of the run's own pairs has no query; unknown before the teacher writes them."""
    from distill.pairs.build import collection

    pairs = run.config.pairs
    if pairs.source in ("example", *REMOTE) or pairs.synthesize is not None:
        return
    data = collection(pairs, data_folder(run, pairs), run.config.seed, entry.split, run.base)
    _refuse_empty(bool(data.queries), entry, key)


def _refuse_empty(there: bool, entry: SetSettings, key: str) -> None:
    if not there:
        raise ConfigError(
            f"{key}: the set {entry.name!r} has no query with a label in split {entry.split!r}, so nothing would be "
            "measured; name another split, or give pairs.split a larger share of it"
        )


def _is_missing(run: Run, path: str) -> bool:
    return bool(path) and not is_url(path) and not (run.base / path).exists()


def _judged_queries(run: Run, entry: SetSettings, key: str) -> set[str]:
    """The queries that a set's split judges and that have a text. Of the passages only the first is read."""
    settings, source = settings_of(run, entry), source_of(run, entry)
    next(iter(source.passages()), None)
    split = settings.qrels if isinstance(settings.split, dict) else entry.split
    judged = {query: place for place, query, _, _ in source.labels(split)}
    texts = {query: place for place, query, _, _ in source.queries()}
    if judged and not judged.keys() & texts.keys():
        example, other = next(iter(judged.items())), next(iter(texts.items()), ("", "none"))
        raise DataError(
            f"{key}: none of the queries that split {entry.split!r} judges has a text, such as {example[0]!r} "
            f"({example[1]}); the queries of {class_and_place(source)} are such as {other[0]!r} ({other[1]})"
        )
    return judged.keys() & texts.keys()
