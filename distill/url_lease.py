"""A lease on a URL: one job at a time writes there. Held by the teacher's session (its journal) and by a run (`--out`).

The lease is a small object with a number, made by a conditional write (S3's If-None-Match, fsspec's `mode="create"`),
so that of two jobs one gets it. Its owner renews it; a job that finds one watches it for as long as an owner may be
silent, by its own clock alone, and takes it over, under the next number, where it was not renewed. Numbers only rise.

Not covered: a storage that ignores the condition of a write. There two jobs that start within a second may both go on
until the next renewal, which finds the other's object.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from distill.errors import RunFolderError, Stopped
from distill.store import filesystem
from distill.urls import listing, reaching

RENEW_S = 15.0
LEASE_S = 60.0  # an owner that is silent for so long is taken for dead, and stops itself
LOOK_S = 1.0  # between two looks at another job's lease
CLOCKS_S = 600.0  # machines' clocks differ by less: a lease that ended so long ago is not watched
_PREFIX = "lease-"


class Held(TypedDict):
    """What a lease says: who has it, and until when."""

    job: str
    session: str  # of one acquisition
    folder: str  # of the local folder that the job works in, which has a lock of its own
    renewals: int
    renewed: float  # seconds since 1970, by the owner's clock
    expires: float
    released: bool


class UrlLease:
    """The lease of `url`; a context manager.

    `scratch` is a local folder that no other process works in (its lock is held): a lease that was taken from there
    before is a dead process's, and is taken over without waiting. Raises RunFolderError, naming the other job, where
    that one is alive.
    """

    def __init__(self, url: str, scratch: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self._url, self._say = url, say
        with reaching(url):
            self._fs, self._folder = filesystem(url)
        self._lost = ""
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._number = 0
        self._held: Held = {
            "job": f"process {os.getpid()} on {platform.node()}",
            "session": uuid.uuid4().hex,
            "folder": _name_of(scratch),
            "renewals": 0,
            "renewed": 0.0,
            "expires": 0.0,
            "released": False,
        }

    def __enter__(self) -> UrlLease:
        with reaching(self._url):
            self._acquire()
        threading.Thread(target=self._renew_again, name="lease", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        with self._writing, suppress(Exception):  # a lease that cannot be given back runs out
            if not self._lost:
                self._held["released"] = True
                self._write()

    def check(self) -> None:
        """Raise Stopped where another job has taken the lease over, or it could not be renewed in time."""
        if not self._lost and time.monotonic() - self._renewed > LEASE_S:  # this process was stopped, or the network
            self._renew()
        if self._lost:
            raise Stopped(f"{self._url}: {self._lost}; nothing is lost, run again when the other job has ended")

    def _acquire(self) -> None:
        watched: Held | None = None
        since = time.monotonic()
        while True:
            number, held = self._newest()
            if held is None or self._is_free(held) or (watched and time.monotonic() - since > LEASE_S):
                if self._create(number + 1):
                    break
                continue
            if watched is None:
                self._say(f"{self._url}: {held['job']} had it; looking whether that is alive, {LEASE_S:.0f} s at most")
                watched = held
            elif held != watched:
                raise RunFolderError(
                    f"{self._url}: in use by {held['job']}, which renewed its lease just now; wait for it, or end it, "
                    "then run again"
                )
            time.sleep(LOOK_S)

    def _is_free(self, held: Held) -> bool:
        mine = held["folder"] == self._held["folder"]
        return held["released"] or mine or time.time() > held["expires"] + CLOCKS_S

    def _newest(self) -> tuple[int, Held | None]:
        newest = max(self._numbers(), default=0)
        return newest, self._read(newest) if newest else None

    def _numbers(self) -> list[int]:
        names = listing(self._fs, self._folder)
        return [int(name[len(_PREFIX) :].removesuffix(".json")) for name in names if name.startswith(_PREFIX)]

    def _create(self, number: int) -> bool:
        """Whether the lease of that number is ours now; older ones are removed."""
        self._number = number
        try:
            self._write(mode="create")
        except FileExistsError:
            return False
        except OSError:  # S3 answers 409 where two write in the same moment
            if self._newest()[0] >= number:
                return False
            raise
        newest, held = self._newest()
        if newest != number or held is None or held["session"] != self._held["session"]:
            return False
        for older in self._numbers():
            if older < number:
                self._fs.rm_file(self._path(older))
        return True

    def _path(self, number: int) -> str:
        return f"{self._folder}/{_PREFIX}{number:08d}.json"

    def _read(self, number: int) -> Held | None:
        try:
            held: Held = json.loads(self._fs.cat_file(self._path(number)))
        except FileNotFoundError:
            return None
        return held

    def _write(self, **mode: Any) -> None:
        self._held["renewals"] += 1
        self._held["renewed"], self._held["expires"] = time.time(), time.time() + LEASE_S
        self._fs.pipe_file(self._path(self._number), json.dumps(self._held).encode(), **mode)
        self._renewed = time.monotonic()

    def _renew(self) -> None:
        with self._writing:
            if self._over.is_set() or self._lost:
                return
            try:
                newest, held = self._newest()
                if newest == self._number and held and held["session"] == self._held["session"]:
                    self._write()
                else:
                    self._lost = f"{held['job'] if held else 'another job'} has taken it over"
            except Exception as error:  # whatever a storage's library raises; the next renewal may succeed
                if time.monotonic() - self._renewed > LEASE_S:
                    self._lost = f"its lease could not be renewed for {LEASE_S:.0f} s ({error})"

    def _renew_again(self) -> None:
        while not self._over.wait(RENEW_S):
            self._renew()


def _name_of(scratch: Path) -> str:
    """A name for a local folder that no other folder has, on whatever machine; kept in it."""
    path = scratch / "lease-folder"
    if not path.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return path.read_text(encoding="ascii")
