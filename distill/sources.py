"""Where a run's texts come from: the user's own folders, or the embedded example written out once."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.errors import ConfigError
from distill.run import Run

if TYPE_CHECKING:
    from distill.pairs.collection import Collection


def check(run: Run) -> None:
    """What can be wrong and is cheap to see before anything runs: keys, the example's settings. Raises ConfigError."""
    from distill.config import secret, validate

    if run.config.pairs.example:
        from distill.example.world import WorldSettings

        validate(WorldSettings, run.config.pairs.example, f"{run.origin}: pairs.example")
    if run.config.teacher.example:
        from distill.example.teacher import TeacherSettings

        validate(TeacherSettings, run.config.teacher.example, f"{run.origin}: teacher.example")
    for number, endpoint in enumerate(run.config.teacher.endpoints):
        if endpoint.api_key_env:
            secret(endpoint.api_key_env, f"teacher.endpoints.{number}.api_key_env")
    example = run.config.pairs.source == "example"
    for number, each in enumerate(run.config.evaluation.sets):
        if each.source == "example" and not example:
            raise ConfigError(f"evaluation.sets.{number}: source example needs pairs.source: example")


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


def collection_of(run: Run, each: Any) -> Collection:
    """An evaluation set's collection: its part of the pairs' shares where it has one, else its own qrels file."""
    from distill.pairs.build import collection

    pairs = run.config.pairs
    part_of_pairs = isinstance(pairs.split, dict) and (each.source, each.path) == (pairs.source, pairs.path)
    source = pairs if part_of_pairs else pairs.model_copy(update={"split": each.split})
    data = collection(source, data_folder(run, each, each.split), run.config.seed, each.split)
    if each.queries is None or each.queries >= len(data.queries):
        return data
    drawn = sorted(random.Random(f"queries:{run.config.seed}").sample(sorted(data.queries), each.queries))
    return replace(
        data, queries={q: data.queries[q] for q in drawn}, qrels={q: data.qrels[q] for q in drawn if q in data.qrels}
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
        data = collection_of(self._run, each)
        judged = {doc for labels in data.qrels.values() for doc in labels}
        return [*data.queries.values(), *(data.passages[doc] for doc in sorted(judged))]
