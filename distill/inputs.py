"""Input files that lie on a URL: a copy on this machine, fetched when something has changed there.

Used wherever a path of the configuration or of a command is read (`input_path`), so that every reader reads local
files. Messages and fingerprints name the URL (`named`), not the copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from distill import driver_files
from distill.errors import DataError
from distill.store import filesystem, read_json, write_json
from distill.urls import is_url, reaching


def cache_folder() -> Path:
    """Where this machine keeps what can be fetched again: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rerank-distill"


def input_path(base: Path, path: str) -> Path:
    """A path that is read: relative to `base`, absolute, or the copy of what lies on a URL.

    Raises DataError where nothing lies there, ConfigError and Stopped as `distill.urls.reaching` does.
    """
    path = path.removeprefix("file://")
    return _fetched(path) if is_url(path) else base / path


def on_this_node(path: str) -> str:
    """What the driver has sent to its nodes as a path (`driver_files.as_seen`): itself, or this node's copy of a URL's.

    The first process of a node fetches what is new, the others find it.
    """
    own = driver_files.own_path(path)
    return path if own is None else str(own if driver_files.serving() else _fetch(path))


def is_copy(path: str | Path) -> bool:
    """Whether a path is a copy of what lies on a URL: nothing of lasting value is written there."""
    return named(str(path)) != str(path)


def named(text: str) -> str:
    """A text with the URLs of copies in place of their paths."""
    urls = re.sub(re.escape(f"{cache_folder()}/inputs/") + r"([a-z0-9+.-]+)/", r"\1://", text)
    return re.sub("driver:///?", "/", urls)  # of the driver's own disk


def stamps(url: str) -> dict[str, str]:
    """{name: what changes with the content} of the objects at a URL: size, and ETag or time."""
    with reaching(url):
        return {name: stamp for name, (_, stamp) in _objects(*filesystem(url)).items()}


@cache
def _fetched(url: str) -> Path:
    """The copy, brought up to date once a process."""
    return _fetch(url)


def _fetch(url: str) -> Path:
    """The copy, brought up to date: objects of a new size, ETag or time are fetched, others removed."""
    with reaching(url):
        fs, inner = filesystem(url)
        there = _objects(fs, inner)
    if not there:
        raise DataError(f"{url}: no such file or folder")
    home = cache_folder() / "inputs" / url.split("://")[0] / inner.strip("/")
    index = cache_folder() / "fetched" / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
    index.parent.mkdir(parents=True, exist_ok=True)
    with open(index.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be fetching the same
        known = read_json(index) or {}
        stale = [name for name, (_, stamp) in there.items() if known.get(name) != stamp or not (home / name).is_file()]
        for gone in known.keys() - there.keys():
            (home / gone).unlink(missing_ok=True)
        if stale:
            parts = index.with_suffix(".parts")
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir()
            copies = [parts / str(number) for number in range(len(stale))]
            with reaching(url):
                fs.get([there[name][0] for name in stale], [str(copy) for copy in copies])
            for name, copy in zip(stale, copies, strict=True):
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(copy, home / name)
            parts.rmdir()
        write_json(index, {name: stamp for name, (_, stamp) in there.items()})
    return home


def _objects(fs: Any, inner: str) -> dict[str, tuple[str, str]]:
    """{name within the folder, "" of a file itself: (path, stamp)}; {} where there is nothing."""
    fs.invalidate_cache()
    try:
        info = fs.info(inner)
    except FileNotFoundError:
        return {}
    entries = {inner: info} if info["type"] == "file" else fs.find(inner, detail=True)
    found = {}
    for path, entry in entries.items():
        name = path[len(inner.rstrip("/")) :].strip("/")
        if entry["type"] == "file" and not path.endswith("/") and ".." not in name.split("/"):
            marks = [
                entry.get(key) for key in ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "created")
            ]
            found[name] = (path, " ".join(str(mark) for mark in marks if mark is not None))
    return found
