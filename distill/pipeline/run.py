"""A run's folder: whose it is, its log, its metrics, and what is said on the terminal while it grows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from distill import store
from distill.config import Settings
from distill.errors import RunFolderError

SECRETS = "keys are named by their environment variable and never written"


class Run:
    """One run on disk. `origin` is the configuration's file, to whose folder its paths are relative."""

    def __init__(self, config: Any, folder: Path, origin: Path, quiet: bool = False) -> None:
        self.config, self.folder, self.origin, self.quiet = config, folder, origin, quiet
        self.base = origin.resolve().parent
        self.retry_failed = False
        self._shown = 0.0

    def claim(self) -> None:
        """Make the folder ours. Raises RunFolderError for a folder that holds something else or another run."""
        file = self.folder / "config.yaml"
        if self.folder.exists() and not self.folder.is_dir():
            raise RunFolderError(f"{self.folder}: is a file; choose a folder with --out")
        if self.folder.exists() and any(p.name != ".lease" for p in self.folder.iterdir()):
            owner = _name_in(file)
            if owner is None:
                raise RunFolderError(f"{self.folder}: is not empty and not a run of ours; choose another with --out")
            if owner != self.config.name:
                raise RunFolderError(
                    f"{self.folder}: holds the run {owner!r}, this configuration is {self.config.name!r}; "
                    "choose another folder with --out, or another name"
                )

    def at(self, folder: str) -> Path:
        """Where a stage's folder is."""
        return self.folder / folder

    def write_config(self) -> None:
        """Write the resolved configuration, as it is used."""
        values = self.config.model_dump(mode="json", exclude_none=True)
        text = f"# Resolved from {self.origin.name}; {SECRETS}.\n" + yaml.safe_dump(values, sort_keys=False)
        path = self.folder / "config.yaml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def say(self, text: str) -> None:
        """One line on the terminal."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def log(self, event: dict[str, Any]) -> None:
        """One line in log.jsonl; training and scoring progress is said too, every few seconds."""
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as out:
            out.write(json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False, default=str) + "\n")
        self._progress(event)

    def _progress(self, event: dict[str, Any]) -> None:
        if "warning" in event and "student" in event:
            self.say(f"  {event['student']}: WARNING at step {event['step']}: {event['warning']}")
        elif "student" in event and "dev_spread" in event:
            shown = [f"{key.removeprefix('dev_')} {event[key]:.3f}" for key in event if key.startswith("dev_")]
            self.say(f"  {event['student']}: step {event['step']}/{event['steps']}  held out: {', '.join(shown)}")
        elif "student" in event and (time.monotonic() - self._shown > 5 or event["step"] == event["steps"]):
            self._shown = time.monotonic()
            left = event["seconds"] / max(event["step"], 1) * (event["steps"] - event["step"])
            self.say(
                f"  {event['student']}: step {event['step']}/{event['steps']}  loss {float(event['loss']):.3f}  "
                f"{event['tokens_per_s']:,.0f} tokens/s  {left:.0f} s left"
            )
        elif "system" in event and (time.monotonic() - self._shown > 5 or event["done"] == event["of"]):
            self._shown = time.monotonic()
            self.say(f"  {event['set']}, {event['system']}: {event['done']:,}/{event['of']:,} pairs judged")

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage; the counts put into the yielded dictionary go to metrics.json when it ends well."""
        self.say(f"{name} ...")
        started = time.monotonic()
        counts: dict[str, Any] = {}
        self.log({"stage": name, "event": "start"})
        yield counts
        counts["seconds"] = round(time.monotonic() - started, 2)
        self.log({"stage": name, "event": "end", "seconds": counts["seconds"]})
        metrics = self.metrics()
        metrics["stages"][name] = counts
        self.write_metrics(metrics)
        self.say(f"{name}: {_short(counts)}")

    def metrics(self) -> dict[str, Any]:
        """metrics.json as it stands."""
        found = store.read_json(self.folder / "metrics.json") or {}
        return {"name": self.config.name, "stages": {}, "evaluation": {}, "intervals": {}, **found}

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace metrics.json."""
        store.write_json(self.folder / "metrics.json", metrics)

    def data_hash(self, folder: str) -> str:
        """The hash of a finished folder's rows, "" where it is not there yet."""
        manifest = store.read_manifest(self.at(folder))
        return str(manifest["result"].get("data_hash", manifest["fingerprint"])) if manifest else ""

    def file_hashes(self, paths: list[Path]) -> dict[str, str]:
        """SHA-256 by path; a file whose size and time are those of the last look is not read again."""
        cache_path = self.folder / ".hashes.json"
        cache = store.read_json(cache_path) or {}
        found, fresh = {}, dict(cache)
        for path in paths:
            if not path.exists():
                continue  # the stage that reads it says what is missing
            stat = path.stat()
            key, mark = str(path), [stat.st_size, stat.st_mtime_ns]
            if key not in cache or cache[key]["mark"] != mark:
                fresh[key] = {"mark": mark, "sha256": store.file_hash(path)}
            found[key] = fresh[key]["sha256"]
        if fresh != cache and self.folder.is_dir():
            store.write_json(cache_path, fresh)
        return found


def _name_in(file: Path) -> str | None:
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return value.get("name") if isinstance(value, dict) else None


def _short(counts: dict[str, Any]) -> str:
    """The plain numbers among a stage's counts, in their order."""
    parts = []
    for key, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        parts.append(f"{key.replace('_', ' ')} {shown}")
    return ", ".join(parts) or "done"


def dump(settings: Settings, **kwargs: Any) -> dict[str, Any]:
    """A settings model as plain JSON values."""
    return settings.model_dump(mode="json", **kwargs)
