"""The driver's disk for nodes that do not see it: URLs `driver://PATH`, whose bytes go by Ray.

`distill.pipeline.cluster` begins to serve where no storage is mounted on all nodes; then `as_seen` gives whoever sends
work to a node (filters, training, scoring) a URL in place of a path, which `distill.store.filesystem` opens like any
other (`distill.driver_filesystem`). Files travel in pieces, by an actor on the driver's node, so that none has to fit
into Ray's object store. In the driver itself such a URL is the file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from distill.ray_cluster import this_node, unseen

if TYPE_CHECKING:
    from ray.actor import ActorHandle

SCHEME, NAME = "driver", "distill-driver-files"
CALLS = 8  # that the actor answers at the same time


class Entry(TypedDict):
    """A file or folder, as fsspec describes it; `mtime` in nanoseconds since 1970."""

    name: str
    type: str
    size: int
    mtime: int


class DiskAccess:
    """What a node may do on the driver's disk; every call may be made twice, as Ray does after a loss."""

    def info(self, path: str) -> Entry:
        """One file or folder. Raises FileNotFoundError."""
        stat = os.stat(path)
        if os.path.isdir(path):
            return {"name": path, "type": "directory", "size": 0, "mtime": stat.st_mtime_ns}
        return {"name": path, "type": "file", "size": stat.st_size, "mtime": stat.st_mtime_ns}

    def ls(self, path: str) -> list[Entry]:
        """What lies in a folder. Raises FileNotFoundError."""
        return [self.info(entry.path) for entry in os.scandir(path)]

    def read(self, path: str, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        with open(path, "rb") as source:
            source.seek(start)
            return source.read(end - start)

    def write(self, path: str, at: int, data: bytes) -> None:
        """Write at a place of a file, which is made where it is not there."""
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        with open(file, "wb") as out:
            out.seek(at)
            out.write(data)

    def replace(self, part: str, path: str) -> None:
        """Give a file that is written whole its name."""
        if os.path.exists(part):
            os.replace(part, path)

    def makedirs(self, path: str) -> None:
        """Make a folder and those above it."""
        os.makedirs(path, exist_ok=True)

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all it holds."""
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.exists(path):
            os.unlink(path)


_serving: ActorHandle[DiskAccess] | None = None  # of the driver, from `serve` on
_reached: ActorHandle[DiskAccess] | None = None  # of a worker, from its first call on
_seen: set[Path] = set()  # folders that every node sees


def serve() -> None:
    """Let the nodes of the cluster, to which this process is connected, read and write this machine's files."""
    global _serving
    if _serving is None:
        import ray

        made = ray.remote(DiskAccess).options(
            name=NAME, num_cpus=0, scheduling_strategy=this_node(), max_concurrency=CALLS, max_restarts=-1,
            max_task_retries=-1,
        )  # fmt: skip
        _serving = cast("ActorHandle[DiskAccess]", made.remote())


def settle(folders: Iterable[Path], are_seen: bool) -> None:
    """Note folders that every node sees, or serve where one does not."""
    if are_seen:
        _seen.update(folder.absolute() for folder in folders)
    else:
        serve()


def look(folder: Path) -> None:
    """Find out whether every node of the cluster sees a folder, where that is not known yet, and settle it."""
    known = serving() or any(folder.absolute().is_relative_to(seen) for seen in _seen)
    if not known:
        try:
            are_seen = not unseen(folder)
        except OSError:  # a folder that is only read: what lies there on a node may be something else
            are_seen = False
        settle([folder], are_seen)


def serving() -> bool:
    """Whether this process is a driver whose files are served."""
    return _serving is not None


def as_seen(path: str | Path) -> str:
    """A path of this machine as the nodes reach it: a URL where files are served, else itself."""
    return str(path) if _serving is None else f"{SCHEME}://{os.path.abspath(path)}"


def model_as_seen(name: str) -> str:
    """A model's folder as the nodes reach it; a name on a hub is itself."""
    return as_seen(name) if os.path.isdir(name) else name


def own_path(url: str) -> Path | None:
    """The path on the driver's disk that a URL names; None where it is no URL of the driver's."""
    return Path(url.removeprefix(f"{SCHEME}://")) if url.startswith(f"{SCHEME}://") else None


def call(name: str, *arguments: object) -> Any:
    """Of `DiskAccess`, here or on the driver's node. Raises what it raised."""
    global _reached
    if _serving is not None:
        return getattr(DiskAccess(), name)(*arguments)
    import ray

    if _reached is None:
        _reached = ray.get_actor(NAME)
    try:
        return ray.get(getattr(_reached, name).remote(*arguments))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
