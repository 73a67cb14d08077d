"""The training processes: started before there is work, so that imports cost no time, and ended with the stage."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from distill.errors import Stopped, of_exit_code
from distill.processes import cores
from distill.store import read_json
from sft.faults import ended_without_result
from sft.placement import Placement

Notify = Callable[[dict[str, Any]], None]


class Trainings(Protocol):
    """Where students are trained, as `sft.stage` sees it. Left by an error it ends those that are under way."""

    placement: Placement
    threads: int

    def __enter__(self) -> Trainings: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def warm(self) -> None:
        """Prepare as many workers as train at a time."""

    def train(self, folder: Path) -> dict[str, Any]:
        """Do the job in `folder`/job.json and return its result; called from several threads."""


class TrainingProcesses:
    """Processes that share this machine's cores; every one trains one student. Safe to use from several threads."""

    def __init__(self, placement: Placement, notify: Notify) -> None:
        self.placement, self._notify = placement, notify
        self.threads = max(1, cores() // placement.at_a_time)
        self._ready: queue.SimpleQueue[tuple[subprocess.Popen[str], IO[str]]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._ended = False

    def __enter__(self) -> TrainingProcesses:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        for process in self._all:
            if process.poll() is None:
                process.kill()
            process.wait()

    def warm(self) -> None:
        """Start processes, which import what they need and wait for a job."""
        for _ in range(self.placement.at_a_time):
            self._ready.put(self._start())

    def _start(self) -> tuple[subprocess.Popen[str], IO[str]]:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}
        errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "sft.training_process", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        self._all.append(process)
        if self._ended:  # between the question and the start
            process.kill()
        return process, errors

    def train(self, folder: Path) -> dict[str, Any]:
        """Do the job in `folder`/job.json and return its result.

        Raises InputError for what the user can mend, DistillError for what broke; then `folder`/stderr.txt has it all.
        Raises Stopped once the processes are ended: after an interrupt, no student that waited for its turn is trained.
        """
        if self._ended:
            raise Stopped(f"{folder.name}: not trained, since the stage was ended")
        try:
            process, errors = self._ready.get_nowait()
        except queue.Empty:
            process, errors = self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{folder / 'job.json'}\n")
        process.stdin.close()
        failure: dict[str, Any] | None = None
        for line in process.stdout:
            if line.startswith("{"):
                event = json.loads(line)
                if "exit_code" in event:
                    failure = event
                else:
                    self._notify(event)
        status = process.wait()
        errors.seek(0)
        written = errors.read()
        with contextlib.suppress(OSError):  # the disk may be full
            (folder / "stderr.txt").write_text(written, encoding="utf-8")
        if failure is not None:
            raise of_exit_code(failure["exit_code"], failure["error"])
        result = read_json(folder / "result.json")
        if result is None:
            raise ended_without_result(folder.name, status, written, folder)
        return dict(result)
