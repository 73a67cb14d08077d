"""A student's folder on a node that does not see the driver's disk, and what travels between the two.

Used by the workers of `sft.ray_train`. One worker a node moves files: what the training reads and its whole checkpoints
come before it begins, each checkpoint goes to the driver when it is saved, the student at the end. So a lost node costs
the steps since the last checkpoint, whichever node goes on.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from distill.inputs import cache_folder, on_this_node
from distill.store import filesystem
from sft.encoded import FOLDER
from sft.together import COMPLETE, barrier
from sft.training_job import TrainingJob

CHECKPOINTS = "checkpoints"
READ = ("base", "examples", "dev", "lengths", "scores")  # of a job: what may lie with the driver
STAYS = (FOLDER, CHECKPOINTS)  # on the node


class NodeFolder:
    """The copy on this node of the folder `url`, with the driver, into which a student is trained.

    Every worker has one and calls the same methods in the same order; `moves` is true for one worker of each node,
    `first` for one of all. With `whole`, every node keeps whole checkpoints, not only the parts that it has written.
    """

    def __init__(self, url: str, moves: bool, first: bool, whole: bool) -> None:
        self.path = cache_folder() / "training" / hashlib.sha256(url.encode()).hexdigest()[:16]
        self._fs, self._there = filesystem(url)
        self._moves, self._first, self._whole = moves, first, whole

    def begin(self, job: TrainingJob) -> TrainingJob:
        """The job with its paths on this node, where all that it reads lies then."""
        if self._moves:
            for path in self.path.glob("*"):
                if path.name not in STAYS:
                    _remove(path)
            self._take_up()
        barrier()
        read = {key: on_this_node(job[key]) for key in READ if key in job}  # type: ignore[literal-required]
        return {**job, **read, "out": str(self.path)}  # type: ignore[typeddict-item]  # the keys are those of a job

    def keep(self, checkpoint: Path) -> None:
        """Copy a checkpoint that all workers have written to the driver, who drops those that are dropped here."""
        there = f"{self._there}/{CHECKPOINTS}"
        if self._moves:
            parts = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE]
            self._put(checkpoint.parent, parts, there)
        barrier()
        if self._first:
            self._put(checkpoint.parent, [checkpoint / COMPLETE], there)
            here = {path.name for path in checkpoint.parent.iterdir()}
            for path in self._fs.ls(there, detail=False):
                if path.rpartition("/")[2] not in here:
                    self._fs.rm(path, recursive=True)
        barrier()
        if self._moves and not self._first:
            self._take_up(fetch=self._whole)

    def hand_over(self) -> None:
        """Copy the trained student to the driver, who needs its checkpoints no more."""
        if self._first:
            files = [path for path in self.path.rglob("*") if path.is_file()]
            made = [path for path in files if path.relative_to(self.path).parts[0] not in STAYS]
            self._put(self.path, made, self._there)
            self._fs.rm(f"{self._there}/{CHECKPOINTS}", recursive=True)
        if self._moves:
            shutil.rmtree(self.path, ignore_errors=True)

    def _take_up(self, fetch: bool = True) -> None:
        """Make the checkpoints those that are whole with the driver; without `fetch`, drop the others alone."""
        here, there = self.path / CHECKPOINTS, f"{self._there}/{CHECKPOINTS}"
        here.mkdir(parents=True, exist_ok=True)
        names = [path.rpartition("/")[2] for path in self._fs.ls(there, detail=False)] if self._fs.exists(there) else []
        marks = {name: self._mark(f"{there}/{name}/{COMPLETE}") for name in names}
        for path in here.iterdir():
            if marks.get(path.name) is None:
                _remove(path)
        for name, mark in marks.items():
            own = here / name / COMPLETE
            if not fetch or mark is None or (own.exists() and own.read_bytes() == mark):
                continue
            _remove(here / name)
            files = [path for path in self._fs.find(f"{there}/{name}") if not path.endswith(f"/{COMPLETE}")]
            self._fs.get(files, [str(here / name / path.removeprefix(f"{there}/{name}/")) for path in files])
            own.write_bytes(mark)

    def _mark(self, path: str) -> bytes | None:
        return bytes(self._fs.cat_file(path)) if self._fs.exists(path) else None

    def _put(self, folder: Path, files: list[Path], there: str) -> None:
        copies = [f"{there}/{path.relative_to(folder).as_posix()}" for path in files]
        self._fs.put([str(path) for path in files], copies)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
