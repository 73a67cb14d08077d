"""A run whose `--out` is a URL: it works in a folder of this machine, and its finished stages are copied to the URL.

Made by `distill.pipeline.execute`, and for the run that a refresh names by `distill.cli`; `distill.pipeline.stage`
copies after each stage. Another machine, or a later start, takes up what is there. A folder of the run (`pairs`,
`traces`, ...) has an index there, which is removed before anything of the folder is written and written last, so a
folder that was only half copied is not taken up. The teacher's journal is not copied: it is written to the URL itself,
flush by flush. Checkpoints of training are not copied either.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

from distill import store
from distill.config import resolved
from distill.errors import ConfigError, RunFolderError
from distill.inputs import cache_folder
from distill.pipeline.config import RunConfig
from distill.url_lease import UrlLease
from distill.urls import listing, reaching

INDEX = ".mirror.json"
REPLACED = ".replaced"  # in the folder on this machine: what gave way to another machine's
_LAST = ("kept",)  # written after the folders without a manifest that its stage makes too (rejected, changed)


def fetched(url: str) -> Path:
    """The folder of this machine with what is finished of the run at a URL. Raises ConfigError where there is none."""
    mirror = Mirror(url, lambda text: print(text, file=sys.stderr, flush=True))
    mirror.look()
    if resolved(mirror.folder) is None:
        raise ConfigError(f"{url}: holds no run; name one that `distill run --out` made there")
    return mirror.folder


class Copied(TypedDict):
    """One folder as it was copied: its index's id, and its files with size and time of change on this machine."""

    id: str
    files: dict[str, list[int]]


class Mirror:
    """The run at `url`, and its copy in `folder` on this machine."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self.url, self._say = url.rstrip("/"), say
        with reaching(url):
            self._fs, self._inner = store.filesystem(self.url)
        self.folder = cache_folder() / "runs" / self.url.split("://")[0] / self._inner.strip("/")
        self._lease: UrlLease | None = None

    def with_journal(self, config: RunConfig) -> RunConfig:
        """The configuration with the journal on the URL, where it names no other place.

        Raises ConfigError where the teacher's batch files would lie on this machine alone.
        """
        teacher = config.teacher
        if teacher.source == "batch" and teacher.batch.folder is None:
            raise ConfigError(
                "teacher.source: batch keeps its files in the run's folder, where another machine would not find them; "
                "name a folder of this machine with --out, or one that all machines share as teacher.batch.folder"
            )
        if teacher.journal is not None:
            return config
        journal = {"journal": f"{self.url}/traces/journal"}
        return config.model_copy(update={"teacher": teacher.model_copy(update=journal)})

    def look(self) -> None:
        """Take up what is there, unless a run is at work in the folder of this machine, which then is up to date."""
        with suppress(RunFolderError), store.lease(self.folder):
            self._take_up()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run, here and at the URL; copies what is new at the end, also where the run stops or fails.

        Raises RunFolderError while another job has it.
        """
        with store.lease(self.folder), UrlLease(self.url, self.folder / ".lease-of-url", self._say) as self._lease:
            self._take_up()
            self._say(f"working in {self.folder}; finished stages are copied to {self.url}")
            try:
                yield
            finally:
                self.push()

    def push(self) -> None:
        """Copy what has changed to the URL. Raises Stopped where another job has taken the run over."""
        if self._lease is None:
            return
        self._lease.check()
        known, here = self._known(), self._files()
        changed = [name for name in here.keys() | known.keys() if name and here[name] != known[name]["files"]]
        changed.sort(key=lambda name: (name in _LAST or (self.folder / name / store.MANIFEST).exists(), name))
        with reaching(self.url):
            for name in reversed(changed):
                with suppress(FileNotFoundError):
                    self._fs.rm_file(f"{self._inner}/{name}/{INDEX}")
            for name in ["", *changed]:
                new = [path for path, mark in here[name].items() if known[name]["files"].get(path) != mark]
                self._fs.put([str(self.folder / path) for path in new], [f"{self._inner}/{path}" for path in new])
                gone = [f"{self._inner}/{path}" for path in known[name]["files"] if path not in here[name]]
                if gone:
                    self._fs.rm(gone)
                known[name] = {"id": uuid.uuid4().hex, "files": here[name]}
            for name in changed:
                copied = {"id": known[name]["id"], "files": {path: mark[0] for path, mark in here[name].items()}}
                store.write_json(f"{self.url}/{name}/{INDEX}", copied)
        store.write_json(self.folder / INDEX, {name: copied for name, copied in known.items() if copied["files"]})

    def _take_up(self) -> None:
        known = self._known()
        with reaching(self.url):
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self._inner, detail=True)
            except FileNotFoundError:
                return
            folders = [entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] != "file"]
            taken = []
            for name in sorted(folders):
                index = store.read_json(f"{self.url}/{name}/{INDEX}")
                if index is not None and index["id"] != known[name]["id"]:
                    self._fetch_stage(name, list(index["files"]))
                    known[name] = {"id": index["id"], "files": self._files()[name]}
                    taken.append(name)
            if taken:
                files = [name for name in listing(self._fs, self._inner) if not name.startswith(("lease-", "."))]
                self._fetch_stage("", files)
                known[""] = {"id": "", "files": self._files()[""]}
                store.write_json(self.folder / INDEX, known)
                self._say(f"taken up from {self.url}: {', '.join(taken)}")

    def _fetch_stage(self, name: str, files: list[str]) -> None:
        """Fetch files of the run; what this machine has in their place is put aside."""
        parts = self.folder / ".taking"
        shutil.rmtree(parts, ignore_errors=True)
        for path in files:
            (parts / path).parent.mkdir(parents=True, exist_ok=True)
        self._fs.get([f"{self._inner}/{path}" for path in files], [str(parts / path) for path in files])
        for moved in [name] if name else files:
            aside = self.folder / REPLACED / moved
            if aside.is_dir():
                shutil.rmtree(aside)
            aside.parent.mkdir(parents=True, exist_ok=True)
            if (self.folder / moved).exists():
                os.replace(self.folder / moved, aside)
            if (parts / moved).exists():
                os.replace(parts / moved, self.folder / moved)
        shutil.rmtree(parts, ignore_errors=True)

    def _known(self) -> defaultdict[str, Copied]:
        known: defaultdict[str, Copied] = defaultdict(lambda: {"id": "", "files": {}})
        known.update(store.read_json(self.folder / INDEX) or {})
        return known

    def _files(self) -> defaultdict[str, dict[str, list[int]]]:
        """{folder of the run, "" for the files in no folder: {path: [size, time of change]}} of all that is copied."""
        found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
        for top, folders, files in os.walk(self.folder):
            within = Path(top).relative_to(self.folder)
            folders[:] = [
                name
                for name in folders
                if not name.startswith((".", "checkpoint-")) and (within / name).as_posix() != "traces/journal"
            ]
            for name in files:
                if not name.startswith(".") and not name.endswith(".tmp"):
                    stat = (Path(top) / name).stat()
                    path = (within / name).as_posix()
                    found[path.split("/")[0] if "/" in path else ""][path] = [stat.st_size, stat.st_mtime_ns]
        return found
