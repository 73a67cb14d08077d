"""Where a run's texts come from: the user's own folders, or the embedded example written out once."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.errors import ConfigError, DataError, RunFolderError
from distill.pipeline.run import Run
from distill.records import Pair

if TYPE_CHECKING:
    from distill.pairs.collection import Collection
    from distill.pairs.settings import DataSettings


def check(run: Run, keys: bool = True) -> None:
    """What can be wrong and is cheap to see before anything runs: keys, the example's settings. Raises ConfigError.

    Without `keys` the environment is not looked at.
    """
    from distill.config import secret, validate

    if run.config.pairs.example:
        from distill.example.world import WorldSettings

        validate(WorldSettings, run.config.pairs.example, f"{run.origin}: pairs.example")
    if run.config.teacher.example:
        from distill.example.teacher import TeacherSettings

        validate(TeacherSettings, run.config.teacher.example, f"{run.origin}: teacher.example")
    for number, endpoint in enumerate(run.config.teacher.endpoints):
        if endpoint.api_key_env and keys:
            secret(endpoint.api_key_env, f"teacher.endpoints.{number}.api_key_env")
    pairs = run.config.pairs
    if pairs.asks and run.config.teacher.source == "import":
        raise ConfigError(
            "pairs: judge, synthesize, instructions and poison ask, and teacher.source import answers nothing"
        )
    made = set(pairs.split) if isinstance(pairs.split, dict) else {"train"}
    made = made if pairs.synthesize else made & set(pairs.ask)
    example = pairs.source == "example"
    for number, each in enumerate(run.config.evaluation.sets):
        if each.source == "example" and not example:
            raise ConfigError(f"evaluation.sets.{number}: source example needs pairs.source: example")
        if each.source == "pairs" and each.split not in made:
            raise ConfigError(
                f"evaluation.sets.{number}.split: {each.split!r} is no part of the pairs that are made; "
                f"there is {', '.join(sorted(made))} (pairs.split, pairs.ask)"
            )


def data_folder(run: Run, source: Any, split: str = "train") -> Path:
    """The folder that a source reads: the user's own, or the embedded example written out once."""
    if source.source != "example":
        return Path(store.filesystem(run.base / source.path)[1])
    from distill.example.world import WorldSettings, write_beir

    folder = run.folder / "example"
    settings = {"world": run.config.pairs.example, "seed": run.config.seed}
    manifest = store.read_manifest(folder)
    if manifest is None or manifest["fingerprint"] != store.stage_fingerprint("example", {}, settings):
        store.clear(folder)
        folder.mkdir(parents=True)
        write_beir(folder, run.config.seed, WorldSettings(**run.config.pairs.example))
        store.write_manifest(folder, "example", {}, settings, {})
    return folder / split


def base_of(run: Run) -> str:
    """The students' base: a folder beside the configuration where there is one of that name, else a hub name."""
    base = str(run.config.sft.base)
    local = run.base / base
    return str(local) if base != "scratch" and local.is_dir() else base


def settings_of(run: Run, each: Any) -> DataSettings:
    """How an evaluation set is read: as the pairs are, where it is another part or split of the same source."""
    from distill.pairs.settings import DataSettings

    pairs = run.config.pairs
    if (each.source, each.path) == (pairs.source, pairs.path) and not each.files:
        part = isinstance(pairs.split, dict) and each.split in pairs.split
        own = {name: getattr(pairs, name) for name in DataSettings.model_fields}
        return DataSettings(**own) if part else DataSettings(**{**own, "split": each.split})
    given = {"source": each.source, "path": each.path, "files": each.files, "columns": each.columns}
    return DataSettings(**given, split=each.split, language=each.language or pairs.language)


def _refuse_the_same(run: Run, each: Any) -> None:
    """Raise ConfigError where an evaluation set would be the very pairs that are trained on, under another name."""
    from distill.pairs.sources.registry import open_source

    pairs = run.config.pairs
    same = (each.source, each.path) == (pairs.source, pairs.path) and not each.files
    if not same or isinstance(pairs.split, dict) or each.split == pairs.split:
        return
    source = open_source(pairs, data_folder(run, pairs), run.base)
    if not source.divided:
        raise ConfigError(
            f"evaluation.sets, {each.name}: {each.path} has no split {each.split!r} apart from the one that is trained "
            "on; give shares under pairs.split, such as {train: 0.8, test: 0.2}, or another path"
        )


def source_files(run: Run, each: Any) -> list[Path]:
    """The local files that the pairs, or an evaluation set, are read from."""
    from distill.pairs.build import inputs
    from distill.pairs.settings import DataSettings

    if each.source == "pairs":
        return []
    settings = each if isinstance(each, DataSettings) else settings_of(run, each)
    split = each.split if isinstance(each.split, str) else "train"
    return inputs(data_folder(run, each, split), settings, run.base)


def made_pairs(run: Run, split: str) -> Collection:
    """One part of the run's own pairs, those without instruction, over all passages of their source.

    Raises RunFolderError before they are made, DataError where the part is empty.
    """
    from distill.pairs.collection import Collection
    from distill.pairs.passages import Passages
    from distill.pairs.sources.registry import open_source

    folder = run.at("pairs")
    if store.read_manifest(folder) is None:
        raise RunFolderError(f"{folder}: not made yet; `distill pairs` makes them")
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for pair in store.read_rows(folder, Pair):
        if pair.split == split and pair.instruction is None and pair.label is not None:
            queries[pair.query_id] = pair.query
            qrels.setdefault(pair.query_id, {})[pair.doc_id] = pair.label
    if not queries:
        raise DataError(f"{folder}: holds no labelled pair of the part {split!r}; name a key of pairs.split")
    source = open_source(run.config.pairs, data_folder(run, run.config.pairs), run.base)
    return Collection(Passages(source.passages(), source.repeats), dict(sorted(queries.items())), qrels)


def collection_of(run: Run, each: Any) -> Collection:
    """An evaluation set's collection: its part of the pairs' shares where it has one, else its own qrels file."""
    from distill.pairs.build import collection

    if each.source == "pairs":
        return made_pairs(run, each.split)
    _refuse_the_same(run, each)
    data = collection(settings_of(run, each), data_folder(run, each, each.split), run.config.seed, each.split, run.base)
    if each.queries is None or each.queries >= len(data.queries):
        return data
    drawn_queries = sorted(random.Random(f"queries:{run.config.seed}").sample(sorted(data.queries), each.queries))
    return replace(
        data,
        queries={q: data.queries[q] for q in drawn_queries},
        qrels={q: data.qrels[q] for q in drawn_queries if q in data.qrels},
    )


class HeldOut(Mapping[str, Iterable[str]]):
    """By evaluation set, the queries and judged passages that training must not see; read when asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __len__(self) -> int:
        return len(self._run.config.evaluation.sets)

    def __iter__(self) -> Iterator[str]:
        return iter(each.name for each in self._run.config.evaluation.sets)

    def __getitem__(self, name: str) -> Iterable[str]:
        each = next(each for each in self._run.config.evaluation.sets if each.name == name)
        from distill.pipeline.sets import suite_of, texts_of

        return texts_of(suite_of(self._run, each))
