"""The run folder: its paths, its log, its metrics, and what the terminal shows. Used by every stage of the pipeline."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import BaseModel

from distill import store
from distill.config import RELATIVE_TO, folder_of, made_of, resolved
from distill.errors import DistillError, RunFolderError
from distill.files.gaps import MISSING
from distill.inputs import named
from distill.pairs.settings import ClickSettings
from distill.pipeline.config import RunConfig
from distill.pipeline.progress import Progress
from distill.pipeline.terminal import TerminalBars
from distill.results import Counts, Json, RunMetrics, StageCounts, as_json, read_as
from distill.stages import FOLDERS

if TYPE_CHECKING:
    from distill.pipeline.mirror import Mirror

LATER: dict[str, Json] = {
    "self_retrieval": False,
    "missing": MISSING,
    "ids": "given",
    "unlabelled": "ask",
    "cut_words": None,
    "systems": None,
    "fuse": False,
    "clicks": ClickSettings().model_dump(mode="json"),
    "base": None,
    "loss": None,
    "labels": None,
    "scores": None,
    "training": None,
    "then": [],
    "pairs": "kept",
    "retriever": None,
}
LOADS = {"sft": "loading torch and TRL", "evaluate": "loading torch and the students"}  # stages silent for seconds
SECRETS = "keys are named by their environment variable and never written"


class Folder:
    """A folder of the run as an attribute of `Run`, under its own name."""

    def __set_name__(self, owner: type[Run], name: str) -> None:
        self._name = name

    def __get__(self, run: Run, owner: type[Run]) -> Path:
        return run.path(self._name)


class Run:
    """One run on disk. `origin` is the configuration's file, to whose folder its paths are relative; `overrides` are
    the settings that the command added to it."""

    def __init__(self, config: RunConfig, folder: Path, origin: Path, quiet: bool = False) -> None:
        self.config, self.folder, self.origin, self.quiet = config, folder, origin, quiet
        self.base = folder_of(origin)
        self.overrides: tuple[str, ...] = ()
        self.retry_failed = False
        self.mirror: Mirror | None = None  # where --out is a URL; `folder` then is the copy on this machine
        self._progress = Progress()
        self.bars = TerminalBars(quiet)

    # What a run holds, each the path of a folder; within an earlier round pairs, traces and example are the run's.
    pairs = Folder()  # queries and passages with labels
    traces = Folder()  # the teacher's answers, and the journal of what was paid for
    kept = Folder()  # the traces that passed all filters
    rejected = Folder()  # the other answered traces, each with filter and reason
    changed = Folder()  # the pairs whose label a filter or a person has changed
    verdicts = Folder()  # the cache of what each filter said
    dataset = Folder()  # training rows, a folder a student
    students = Folder()  # trained weights, a folder a student
    evaluation = Folder()  # rankings, judgements and measures of every set
    example = Folder()  # the embedded example's texts, where the run uses it
    ablation = Folder()  # the variants that `ablate` names, and their table

    def path(self, folder: str) -> Path:
        """A folder by its name, for code that goes through all stages."""
        return self.folder / folder

    def held(self) -> AbstractContextManager[None]:
        """Hold the run, so that no other process works on it. Raises RunFolderError while one does."""
        return self.mirror.held() if self.mirror else store.lease(self.folder)

    def claim(self) -> None:
        """Check that the folder is this run's, or empty. Raises RunFolderError for anything else."""
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"{self.folder}: is a file; choose a folder with --out")
        if self.folder.exists() and any(not p.name.startswith(".lease") for p in self.folder.iterdir()):
            owner = (resolved(self.folder) or {}).get("name")
            if owner is None:
                raise RunFolderError(f"{self.folder}: is not empty and not a run of ours; choose another with --out")
            if owner != self.config.name:
                raise RunFolderError(
                    f"{self.folder}: holds the run {owner!r}, this configuration is {self.config.name!r}; "
                    "choose another folder with --out, or another name"
                )

    def write_config(self) -> None:
        """Write the resolved configuration, as it is used."""
        values = self.config.model_dump(mode="json", exclude_none=True)
        path = self.folder / "config.yaml"
        before = made_of(self.folder) if self.origin.resolve() == path.resolve() else [self.origin.name]
        words = shlex.join(" ".join(word.split()) for word in (Path(before[0]).name, *before[1:], *self.overrides))
        head = f"# Resolved from {words}; {SECRETS}.\n{RELATIVE_TO}{json.dumps(str(self.base))}\n"
        text = head + yaml.safe_dump(values, sort_keys=False)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def say(self, text: str) -> None:
        """One line on the terminal."""
        if not self.quiet:
            print(named(text), file=sys.stderr, flush=True)

    def log(self, event: Counts) -> None:
        """One line in log.jsonl; training and scoring progress is shown too, every few seconds."""
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as out:
            out.write(json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False, default=str) + "\n")
        step = self._progress.step(event) if self.bars.shown else None
        if step is not None:
            self.bars.bar(*step)
        elif (line := self._progress.line(event)) is not None:
            self.say(line)

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Json]]:
        """Time a stage; the counts put into the yielded dictionary go to metrics.json when it ends well."""
        self.say(f"{name} ...")
        started = time.monotonic()
        counts: dict[str, Json] = {}
        self.log({"stage": name, "event": "start"})
        if name in LOADS:
            self.bars.wait(LOADS[name])
        try:
            yield counts
        finally:
            self.bars.clear()
        counts["seconds"] = round(time.monotonic() - started, 2)
        self.log({"stage": name, "event": "end", "seconds": counts["seconds"]})
        metrics = self.metrics()
        metrics.stages[name] = counts
        self.write_metrics(metrics)
        imported = name == "trace" and not self.config.teacher.asks
        self.say(f"{name}: {_short(_without_asking(counts) if imported else _named_preflight(counts))}")
        if rejections := _rejections(counts):
            self.say(f"  rejected by {rejections}")

    def metrics(self) -> RunMetrics:
        """metrics.json as it is now."""
        metrics = read_as(RunMetrics, store.read_json(self.folder / "metrics.json"))
        return metrics if metrics.name else replace(metrics, name=self.config.name)

    def write_metrics(self, metrics: RunMetrics) -> None:
        """Replace metrics.json."""
        store.write_json(self.folder / "metrics.json", as_json(metrics))

    def data_hash(self, folder: str) -> str:
        """The hash of the rows in a finished stage's folder, "" where it is not there yet.

        Raises DistillError for a folder that is no stage's.
        """
        if folder not in FOLDERS and not folder.startswith("round-"):
            raise DistillError(f"data_hash({folder!r}): no stage has this folder; known: {', '.join(sorted(FOLDERS))}")
        manifest = store.read_manifest(self.path(folder))
        return str(manifest["result"].get("data_hash", manifest["fingerprint"])) if manifest else ""

    def file_hashes(self, paths: Iterable[Path]) -> dict[str, str]:
        """SHA-256 by path; a file whose size and time are those of the last look is not read again."""
        cache_path = self.folder / ".hashes.json"
        cache = store.read_json(cache_path) or {}
        found, fresh = {}, dict(cache)
        for path in paths:
            if not path.exists():
                continue  # the stage that reads it says what is missing
            stat = path.stat()
            key, mark = named(str(path)), [stat.st_size, stat.st_mtime_ns]
            if key not in cache or cache[key]["mark"] != mark:
                fresh[key] = {"mark": mark, "sha256": store.file_hash(path)}
            found[key] = fresh[key]["sha256"]
        if fresh != cache and self.folder.is_dir():
            store.write_json(cache_path, fresh)
        return found


def _without_asking(counts: Counts) -> Counts:
    """What imported traces have been counted as: nothing was asked, and nothing was paid."""
    hidden = ("asked_now", "cost_usd", "unusable_cost_usd")
    return {
        {"not_asked": "without_a_trace", "answered": "found"}.get(key, key): value
        for key, value in counts.items()
        if key not in hidden
    }


def _named_preflight(counts: Counts) -> Counts:
    """Without what was billed for no answer, where that is the preflight's alone, which has its own count."""
    if counts.get("unusable_tokens") != counts.get("preflight_tokens"):
        return counts
    return {key: value for key, value in counts.items() if not key.startswith("unusable_")}


def _rejections(counts: Counts) -> str:
    """Such as `length 60, parses 45`: what each filter has rejected, most first; "" where nothing was."""
    by_filter = read_as(StageCounts, counts).by_filter
    rejected = sorted(((count.rejected, name) for name, count in by_filter.items() if count.rejected), reverse=True)
    return ", ".join(f"{name} {number:,}" for number, name in rejected)


def _short(counts: Counts) -> str:
    """The plain numbers among a stage's counts, in their order, without those that are 0."""
    parts = []
    for key, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value:
            continue
        shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        parts.append(f"{key.replace('_', ' ')} {shown}")
    return ", ".join(parts) or "done"


def dump(settings: BaseModel, include: set[str] | None = None, exclude: set[str] | None = None) -> dict[str, Json]:
    """A settings model as plain JSON values, by which a stage is found unchanged.

    Settings of `LATER` are left out at their defaults, so that a run folder that is older than they are goes on.
    """
    values = _without_later(settings.model_dump(mode="json", include=include, exclude=exclude))
    return cast("dict[str, Json]", values)  # a list, of filters


def _without_later(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_later(inner) for name, inner in value.items() if LATER.get(name, ...) != inner}
    return [_without_later(inner) for inner in value] if isinstance(value, list) else value
