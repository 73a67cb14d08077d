"""Whatever a stage reads decides whether it is made again: each stage is run, its reads of files and settings recorded.

A file counts as read when its time of access moves, so that other processes and C++ are seen too. For every file that
a stage reads, and every setting, the test changes it and asks whether the stage's fingerprint notices.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from distill import config, store
from distill.config import Settings
from distill.errors import DistillError
from distill.example.world import WorldSettings, write_beir
from distill.pipeline.config import RunConfig
from distill.pipeline.run import Run
from distill.pipeline.stage import Stage, make
from distill.pipeline.stages import stages_of
from distill.records import Pair

OLD_RUN = Path(__file__).parent / "old_run" / "221dad9.tar.xz"

OWN_FILTER = """
from filters.base import RowFilter


class NotTooLong(RowFilter):
    most: int = 400

    def __call__(self, pair, trace):
        return None if len(trace.reasoning.split()) <= self.most else "too long"
"""

SETTINGS: dict[str, Any] = {
    "name": "own",
    "seed": 3,
    "pairs": {
        "source": "beir", "path": "world/train", "negatives": {"miner": "run", "path": "mined.trec", "per_query": 1},
        "clean": {"decontaminate": ["test"]},
    },
    "teacher": {"source": "example", "example": {"wrong": 0.1}},
    "filters": [
        "finished", "parses", "language", "verdict_matches_label", "decontaminate",
        {"own.py:NotTooLong": {"most": 300}}, {"length": {"max_length": 900}},
    ],
    "sft": {
        "base": "base", "targets": ["think", "direct"], "max_length": 1000, "dev": {"pairs": 8, "score": 8},
        "training": {"max_steps": 2, "per_device_train_batch_size": 8, "logging_steps": 1, "save_strategy": "no"},
    },
    "evaluation": {
        "sets": [
            {"name": "test", "path": "world/test", "depth": 2},
            {"name": "dev", "path": "world/dev", "split": "dev", "depth": 2, "first_stage": "first.trec"},
        ],
        "max_new_tokens": 8, "modes": {"think": ["think", "direct"]}, "calibrate_on": "dev",
    },
}  # fmt: skip

COUNTED = "tokens of the traces' rows are counted for the filters, and kept under the hash of traces and tokenizer"
HOW = "where, how fast and for how much the teacher is asked; answers are known by their requests"

# What a stage reads and its fingerprint does not cover, with the reason; files and settings by their beginning.
FILES: dict[str, dict[str, str]] = {
    "*": {
        ".hashes.json": "hashes by size and time of files, which are covered themselves",
        "metrics.json": "each stage adds its counts to it",
        "log.jsonl": "written only; opened to append",
        "config.yaml": "the settings, which are covered themselves",
    },
    "trace": {
        "traces/journal": "answers that were paid for: what is in it is never asked again, whatever decides the rest",
        "base/": COUNTED,
        "own.py": COUNTED,
    },
    "filter": {
        "verdicts": "a cache; every entry carries the hash of all that it was made from",
        "traces/tokens": COUNTED,
    },
    "sft": {
        "kept/": "its hash names the texts of the tokenizer, which are the dataset's, and that is covered",
    },
}
OF_PAIRS = "whether a set is another part of the pairs' source; a change makes other pairs, or none"
SETTINGS_NOT_COVERED: dict[str, dict[str, str]] = {
    "*": {
        "teacher.prompt": "always that of the top",
        "name": "the run's; another name is another folder",
        "pairs.path": OF_PAIRS,
        "pairs.source": OF_PAIRS,
    },
    "trace": {
        **dict.fromkeys(["sft.base", "sft.prompt", "sft.revision", "sft.think_tokens"], COUNTED),
        **dict.fromkeys(["teacher.actor", "teacher.budget", "teacher.concurrency", "teacher.deadline_s"], HOW),
        **dict.fromkeys(["teacher.give_up_after_s", "teacher.journal", "teacher.prices", "teacher.workers"], HOW),
        **dict.fromkeys(["teacher.require_reasoning", "teacher.require_verdict"], "stops the stage, changes no answer"),
        "teacher.endpoints": "their bodies are looked at, which the example has none of; a model's name is identity",
        "teacher.tokenizer": "covered with teacher.context, without which it is not used",
        "refresh": "where answers are taken over from, and what is refused; the pairs' split is covered with the pairs",
        "pairs.ask": "decides which pairs are made; covered where the teacher writes queries, and all are made",
    },
    "filter": {
        "refresh": "in which part of a split a query is: covered with what the sets are made from",
        "rounds": "given with the filter self_filter, and only with it",
        "pairs.language": "of BM25's analysis; the texts that are held out are the same",
        **dict.fromkeys(["pairs.clicks", "pairs.cut_words", "pairs.files", "pairs.split"], OF_PAIRS),
    },
    "dataset": dict.fromkeys(["prompt", "sft.prompt"], "each kept trace names its prompt"),
    "evaluate": {
        "prompt": "always sft.prompt, which is the students'",
        **dict.fromkeys(["scoring.actors", "scoring.gpus_per_actor", "scoring.api_key_env"], "where students run"),
        "scoring.batch": "how many pairs go through a student together",
    },
}
THROUGH = {"evaluate": "sft"}  # a stage whose input is the other's fingerprint: what the other notices, it notices


NAMES = ("queries.jsonl", "corpus.jsonl")


def own_data(folder: Path) -> Path:
    """A user's folder: BEIR data, a mined run, a filter, a base model, a configuration."""
    write_beir(folder / "world", 3, WorldSettings(queries={"train": 8, "dev": 3, "test": 3}))
    with tarfile.open(OLD_RUN) as archive:
        archive.extractall(folder, filter="data")
    (folder / "run" / "students" / "untrained").rename(folder / "base")
    (folder / "own.py").write_text(OWN_FILTER)
    for name, split in (("mined", "train"), ("first", "dev")):
        ids = [json.loads(line)["_id"] for line in (folder / "world" / split / "corpus.jsonl").read_text().splitlines()]
        queries = (folder / "world" / split / "queries.jsonl").read_text().splitlines()
        lines = [
            f"{json.loads(query)['_id']} Q0 {doc} {rank} {100 - rank} x"
            for query in queries
            for rank, doc in enumerate(ids[:60], 1)
        ]
        (folder / f"{name}.trec").write_text("\n".join(lines) + "\n")
    test = folder / "world" / "test"
    queries, ids = ([json.loads(line)["_id"] for line in (test / name).read_text().splitlines()] for name in NAMES)
    lists = [json.dumps({"query-id": query, "corpus-ids": ids[:2]}) for query in queries]
    (test / "top_ranked.jsonl").write_text("\n".join(lists) + "\n")
    (folder / "own.yaml").write_text(json.dumps(SETTINGS))
    return folder / "own.yaml"


def files_in(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def leaves(settings: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, tuple[str | int, ...]]]:
    """(settings object, its path) of every settings model within."""
    if isinstance(settings, BaseModel):
        yield settings, path
        for name in type(settings).model_fields:
            yield from leaves(settings.__dict__[name], (*path, name))
    elif isinstance(settings, list):
        for index, item in enumerate(settings):
            yield from leaves(item, (*path, index))


class Reads:
    """Records what is read while a stage is made: files by their time of access, settings by their access."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.settings, self.files = run, set[tuple[str | int, ...]](), set[Path]()
        self._paths = {id(model): path for model, path in leaves(run.config)}
        self._on = False
        plain = Settings.__getattribute__

        def recorded(model: Settings, name: str) -> Any:
            if self._on and not name.startswith("_") and name in type(model).model_fields:
                path = self._paths.get(id(model))
                if path is not None:
                    self.settings.add((*path, name))
            return plain(model, name)

        monkeypatch.setattr(Settings, "__getattribute__", recorded)

    def of(self, work: Callable[[Run], Any]) -> Callable[[Run], Any]:
        """The stage's work, recorded."""

        def recorded(run: Run) -> Any:
            before = files_in(run.base, run.folder)
            for path in before:
                os.utime(path, ns=(0, path.stat().st_mtime_ns))
            self.settings, self._on = set(), True
            try:
                return work(run)
            finally:
                self._on = False
                self.files = {path for path in before if path.exists() and path.stat().st_atime_ns != 0}

        return recorded


def with_value(settings: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of the settings that differs at one path, unchecked."""
    if not path:
        return value
    first, *rest = path
    if isinstance(settings, list):
        index = int(first)
        return [*settings[:index], with_value(settings[index], tuple(rest), value), *settings[index + 1 :]]
    changed = with_value(settings.__dict__[str(first)], tuple(rest), value)
    return settings.model_copy(update={str(first): changed})


def value_at(settings: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        settings = settings[int(part)] if isinstance(settings, list) else settings.__dict__[str(part)]
    return settings


def another(value: Any) -> Any:
    """Another value of the same type; None where the value is a model, whose own fields are looked at."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return {"en": "de"}.get(value, f"{value}x")
    if isinstance(value, dict):
        return {**value, "x": "x"}
    if isinstance(value, list):
        return None if any(isinstance(item, BaseModel) for item in value) else [*value, "x"]
    return 7 if value is None else None


def allowed(table: dict[str, dict[str, str]], stage: str, name: str) -> bool:
    return any(name.startswith(known) for key in ("*", stage) for known in table.get(key, {}))


def fingerprint(run: Run, stage: Stage) -> list[str]:
    """What must be the same for a stage not to be made again."""
    through = [other for other in stages_of(run.config) if other.name == THROUGH.get(stage.name)]
    return [each.fingerprint(run) for each in (stage, *through)]


def unnoticed_settings(run: Run, stage: Stage, read: set[tuple[str | int, ...]]) -> list[str]:
    """The settings among `read` whose change the stage's fingerprint does not notice."""
    now = fingerprint(run, stage)
    found = []
    for path in sorted(read, key=str):
        name, value = ".".join(map(str, path)), another(value_at(run.config, path))
        if value is None or allowed(SETTINGS_NOT_COVERED, stage.name, name):
            continue
        changed = Run(with_value(run.config, path, value), run.folder, run.origin, quiet=True)
        try:
            noticed = fingerprint(changed, stage) != now
        except Exception:  # an impossible value is noticed, too
            noticed = True
        if not noticed:
            found.append(name)
    return found


def unnoticed_files(run: Run, stage: Stage, read: set[Path]) -> list[str]:
    """The files among `read` whose change the stage's fingerprint does not notice."""
    now = fingerprint(run, stage)
    found = []
    for path in sorted(read):
        own = path.is_relative_to(run.folder)
        name = str(path.relative_to(run.folder if own else run.base))
        if allowed(FILES, stage.name, name) or (own and path.is_relative_to(run.path(stage.folder))):
            continue
        if not noticed(run, stage, path, now):
            found.append(name)
    return found


def noticed(run: Run, stage: Stage, path: Path, now: list[str]) -> bool:
    """Whether a change of the file changes the fingerprint: by its bytes, or by what its stage says of them."""
    if path.is_relative_to(run.folder) and path.parent != run.folder:
        folder = path.relative_to(run.folder).parts[0]
        path = run.folder / {"changed": "kept", "rejected": "kept"}.get(folder, folder) / store.MANIFEST
        if not path.exists():
            return False
    before, stat = path.read_bytes(), path.stat()
    if path.name == store.MANIFEST:
        manifest = json.loads(before)
        manifest["result"]["data_hash"] = "of other rows"
        path.write_text(json.dumps({**manifest, "fingerprint": "of other settings"}))
    else:
        path.write_bytes(b"")
    try:
        return fingerprint(run, stage) != now
    except DistillError:  # an impossible file is noticed, too
        return True
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_another_part_is_asked_about_where_the_teacher_writes_the_queries(tmp_path: Path) -> None:
    """All parts are pairs then, so the pairs' rows do not say which parts are asked about."""
    raw = {**SETTINGS, "pairs": {"source": "texts", "path": "texts", "split": {"train": 0.5, "dev": 0.5}}}
    raw["pairs"]["synthesize"] = {}
    made, origin = [], own_data(tmp_path)
    for ask in (["train"], ["train", "dev"]):
        settings = config.validate(RunConfig, {**raw, "pairs": {**raw["pairs"], "ask": ask}}, origin)
        run = Run(settings, tmp_path / "run", tmp_path / "own.yaml")
        made.append(next(stage for stage in stages_of(settings) if stage.name == "trace").settings(run))
    assert made[0] != made[1]


def test_every_stages_reads_are_in_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = own_data(tmp_path / "own")
    run = Run(config.load(RunConfig, origin), tmp_path / "run", origin, quiet=True)
    run.folder.mkdir()
    run.write_config()
    reads = Reads(run, monkeypatch)
    files: dict[str, list[str]] = {}
    settings: dict[str, list[str]] = {}
    for stage in stages_of(run.config):
        if stage.name == "filter":  # people decide between asking and filtering
            decided = sorted(pair.pair_id for pair in store.read_rows(run.pairs, Pair))[0]
            line = {"pair_id": decided, "sample": 0, "action": "reject"}
            (run.folder / "adjudication.jsonl").write_text(json.dumps(line) + "\n")
        make(run, replace(stage, make=reads.of(stage.make)))
        assert stage.done(run)
        assert reads.files, f"{stage.name}: reads nothing? This file system keeps no times of access"
        files[stage.name] = unnoticed_files(run, stage, reads.files)
        settings[stage.name] = unnoticed_settings(run, stage, reads.settings)
    unnoticed = {"files": files, "settings": settings}
    assert not any(found for kind in unnoticed.values() for found in kind.values()), json.dumps(unnoticed, indent=1)
