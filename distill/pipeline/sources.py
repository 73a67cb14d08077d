"""Where a run's texts come from: the user's own folders, or the embedded example, written to disk when first needed.

Used by the stages that read them (pairs, filter, sft, evaluate) and by the dry run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill import store
from distill.errors import ConfigError, DataError, RunFolderError
from distill.files.splits import similar_split
from distill.gguf_base import conversion, converted, is_gguf
from distill.inputs import input_path
from distill.pipeline import refresh
from distill.pipeline.run import Run
from distill.records import Pair
from distill.urls import is_url

if TYPE_CHECKING:
    from distill.evaluation.settings import SetSettings
    from distill.pairs.collection import Collection
    from distill.pairs.settings import DataSettings
    from distill.pairs.sources.base import Source
    from sft.settings import SftSettings


def data_folder(run: Run, source: DataSettings | SetSettings, split: str = "train") -> Path:
    """The folder that a source reads: the user's own, or the embedded example written out once."""
    if source.source != "example":
        return Path(os.path.abspath(input_path(run.base, source.path)))
    from distill.example.world import WorldSettings, write_beir

    folder = run.example
    settings = {"world": run.config.pairs.example, "seed": run.config.seed}
    manifest = store.read_manifest(folder)
    if manifest is None or manifest["fingerprint"] != store.stage_fingerprint("example", {}, settings):
        store.clear(folder)
        folder.mkdir(parents=True)
        write_beir(folder, run.config.seed, WorldSettings(**run.config.pairs.example))
        store.write_manifest(folder, "example", {}, settings, {})
    if not (folder / split).is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise ConfigError(
            f"the example has no split {split!r}; there are {', '.join(there)}{similar_split(split, there)}"
        )
    return folder / split


def base_of(run: Run, made_alone: bool = False) -> str:
    """The students' base: a folder next to the configuration where there is one of that name, else a hub name.

    A GGUF file is converted to a folder next to it when it is first needed; with `made_alone` it stays the file where
    that is not done. Raises InputError as `converted` does.
    """
    base = str(run.config.sft.base)
    local = run.base / base
    if is_gguf(base):
        if made_alone:
            return str(conversion(local) or base)
        return str(converted(local, run.say))
    return str(local) if base != "scratch" and local.is_dir() else base


def sft_of(run: Run, made_alone: bool = False) -> SftSettings:
    """The settings of training, with the base as `base_of` finds it."""
    return run.config.sft.model_copy(update={"base": base_of(run, made_alone)})


def settings_of(run: Run, entry: SetSettings) -> DataSettings:
    """How an evaluation set is read: as the pairs are, where it is another part or split of the same source."""
    from distill.pairs.settings import DataSettings

    pairs = run.config.pairs
    if _is_source_of_pairs(run, entry):
        part = isinstance(pairs.split, dict) and entry.split in pairs.split
        own = {name: getattr(pairs, name) for name in DataSettings.model_fields}
        own["missing"] = entry.missing
        return DataSettings(**own) if part else DataSettings(**{**own, "split": entry.split})
    given = {name: getattr(entry, name) for name in ("source", "path", "files", "columns", "ids")}
    return DataSettings(
        **given, split=entry.split, language=entry.language or pairs.language, missing=entry.missing,
        clicks=pairs.clicks, cut_words=pairs.cut_words,
    )  # fmt: skip


def refuse_the_same(run: Run, entry: SetSettings) -> None:
    """Raise ConfigError where an evaluation set would be the very pairs that are trained on, under another name."""
    from distill.pairs.sources import open_source

    pairs = run.config.pairs
    there = set(pairs.split) if isinstance(pairs.split, dict) else {pairs.split}
    if entry.split in there or not _is_source_of_pairs(run, entry):
        return
    opened = open_source(pairs, data_folder(run, pairs), run.base)
    if not opened.divided:
        raise ConfigError(
            f"evaluation.sets, {entry.name}: {entry.path or opened.name} has no split {entry.split!r} apart from the "
            f"one that is trained on (pairs.split: {', '.join(sorted(there))}); give shares under pairs.split, such as "
            "{train: 0.8, test: 0.2}, or another path"
        )


def source_of(run: Run, entry: SetSettings) -> Source:
    """The source that an evaluation set is read from.

    Raises ConfigError where its split is the one that is trained on, or is named and the data have no splits.
    """
    from distill.pairs.sources import check_split, open_source

    refuse_the_same(run, entry)
    settings = settings_of(run, entry)
    source = open_source(settings, data_folder(run, entry, entry.split), run.base)
    if "split" in entry.model_fields_set and isinstance(settings.split, str):
        check_split(source, entry.split, f"evaluation.sets.{entry.name}")
    return source


def _is_source_of_pairs(run: Run, entry: SetSettings) -> bool:
    """Whether an evaluation set is read from the same files as the pairs, however their paths are written."""
    pairs = run.config.pairs
    of_pairs = (pairs.source, _place(run, pairs.path), pairs.files)
    return (entry.source, _place(run, entry.path), entry.files or pairs.files) == of_pairs


def _place(run: Run, path: str) -> str:
    return str((run.base / path).resolve()) if path and not is_url(path) and (run.base / path).exists() else path


def source_files(run: Run, source: DataSettings | SetSettings) -> list[Path]:
    """The local files that the pairs, or an evaluation set, are read from."""
    from distill.pairs.build import inputs
    from distill.pairs.settings import DataSettings

    if source.source == "pairs":
        return []
    settings = source if isinstance(source, DataSettings) else settings_of(run, source)
    split = source.split if isinstance(source.split, str) else "train"
    return inputs(data_folder(run, source, split), settings, run.base)


def made_pairs(run: Run, split: str) -> Collection:
    """One part of the run's own pairs, those without instruction, over all passages of their source.

    Raises RunFolderError before they are made, DataError where the part is empty.
    """
    from distill.pairs.collection import Collection, gather_passages
    from distill.pairs.sources import open_source

    folder = run.pairs
    if store.read_manifest(folder) is None:
        raise RunFolderError(f"{folder}: not made yet; `distill pairs` makes them")
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, float]] = {}
    parts: dict[str, None] = {}
    for pair in store.read_rows(folder, Pair):
        parts[pair.split] = None
        if pair.split == split and pair.instruction is None and pair.label is not None:
            queries[pair.query_id] = pair.query
            qrels.setdefault(pair.query_id, {})[pair.doc_id] = pair.label
    if not queries:
        raise DataError(
            f"{folder}: holds no labelled pair of the part {split!r}, but of {', '.join(parts)}"
            f"{similar_split(split, list(parts))}; name a key of pairs.split"
        )
    source = open_source(run.config.pairs, data_folder(run, run.config.pairs), run.base)
    return Collection(gather_passages(source), dict(sorted(queries.items())), qrels)


def collection_of(run: Run, entry: SetSettings) -> Collection:
    """An evaluation set's collection: its part of the pairs' shares where it has one, else its own qrels file."""
    from distill.pairs.build import collection

    if entry.source == "pairs":
        data = made_pairs(run, entry.split)
    else:
        source_of(run, entry)
        settings, folder = settings_of(run, entry), data_folder(run, entry, entry.split)
        data = collection(settings, folder, run.config.seed, entry.split, run.base, refresh.known_parts(run))
    if entry.queries is None or entry.queries >= len(data.queries):
        return data
    drawn = drawn_queries(run, entry, data.queries)
    return replace(
        data,
        queries={q: data.queries[q] for q in drawn},
        qrels={q: data.qrels[q] for q in drawn if q in data.qrels},
    )


def drawn_queries(run: Run, entry: SetSettings, queries: Iterable[str]) -> list[str]:
    """The queries of an evaluation set that are judged, by the run's seed: as many as it says, of these."""
    names = sorted(queries)
    if entry.queries is None or entry.queries >= len(names):
        return names
    return sorted(random.Random(f"queries:{run.config.seed}").sample(names, entry.queries))
