"""The processes in which students judge: this one, others of this machine, or Ray actors. Used by the scorer alone.

Whatever it is, the scorer calls `exchange` on it and has a future of a `Report`: pairs go in, judgements come out, and
each call lasts about `REPORT_S`. No other module of the project starts a process or an actor to judge pairs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from distill.errors import InputError
from distill.inputs import on_this_node
from distill.plugins import own_faults
from distill.processes import cores, die_with_parent
from distill.records import Judgement, Pair
from distill.rerank.jobs import WEIGHTS, Student, student_files
from distill.rerank.student_format import config_of
from distill.weights import is_wide

if TYPE_CHECKING:
    from distill.rerank.reranker import Requests, Reranker

FEW = 256  # so few pairs are judged in this process: another takes seconds to start
THREADS = 8  # of one process, where many pairs are judged: more of them wait for each other
REPORT_S = 0.5
OVERHEAD = 1 << 29  # bytes of a process without weights
Numbered = Sequence[tuple[int, Pair]]


@dataclass(slots=True)
class Report:
    """What a worker has done since the last one: judgements and refusals by the numbers of their pairs, the tokens read
    and written, the seconds that took, how many pairs are not with the engine yet (`waiting`), and how many rows more
    it takes (`free`)."""

    judged: list[tuple[int, Judgement]] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    waiting: int = 0
    free: int = 0


class Worker:
    """Judges what it is given, one student at a time. Runs in whatever process; `threads` says how many torch takes for
    a student, None for those that it has."""

    _reranker: Reranker
    _requests: Requests

    def __init__(self, threads: Callable[[Student], int | None] = lambda student: None) -> None:
        self._threads = threads
        self._threads_before: int | None = None
        self._loaded: tuple[str, ...] = ()
        self._student: Student | None = None
        self._judged: list[tuple[int, Judgement]] = []
        self._errors: list[BaseException] = []

    @own_faults()
    def exchange(self, student: Student | None, pairs: Numbered) -> Report:
        """Take pairs in, work for a while, and report. Another student than before only once all pairs are judged."""
        report = Report()
        if student is not None and student != self._student:
            self._load(student)
        if self._student is None:
            return report
        began = time.monotonic()
        self._submit(pairs, report)
        read = self._requests.tokens_read
        while self._requests.waiting and time.monotonic() - began < REPORT_S:
            self._requests.step()
        self._raise()
        report.judged, self._judged = self._judged, []
        report.tokens = self._requests.tokens_read - read + sum(judgement.tokens for _, judgement in report.judged)
        report.seconds = time.monotonic() - began
        report.free = self._reranker.backend.free
        report.waiting = max(0, self._requests.waiting - self._requests.running)
        return report

    def close(self) -> None:
        """Give the engine's memory back, and the process its own number of threads."""
        if self._loaded:
            self._reranker.close()
        if self._threads_before:
            import torch

            torch.set_num_threads(self._threads_before)
            self._threads_before = None
        self._loaded, self._student = (), None

    def _load(self, student: Student) -> None:
        if student.loads != self._loaded:
            self.close()
            threads = self._threads(student)
            if threads:
                import torch

                self._threads_before = torch.get_num_threads()
                torch.set_num_threads(threads)
            backend = replace(student, model=on_this_node(student.model)).start()
            self._loaded = student.loads
        else:
            backend = self._reranker.backend
        self._reranker = student.reranker(backend)
        self._requests = self._reranker.stream()
        self._student = student
        self._judged, self._errors = [], []

    def _submit(self, pairs: Numbered, report: Report) -> None:
        if not pairs:
            return
        failed = self._reranker.overlong([pair for _, pair in pairs])
        report.failed = [(number, failed[pair.query_id]) for number, pair in pairs if pair.query_id in failed]
        readable = [(number, pair) for number, pair in pairs if pair.query_id not in failed]
        if readable:
            one = lambda at, judgement: self._judged.append((readable[at][0], judgement))  # noqa: E731
            done = lambda error: self._errors.append(error) if error else None  # noqa: E731
            self._requests.submit([pair for _, pair in readable], done, one)

    def _raise(self) -> None:
        if self._errors:
            self._requests.clear()
            raise self._errors[0]


class Handle(Protocol):
    """A worker as the scorer sees it."""

    def exchange(self, student: Student | None, pairs: Numbered) -> Future[Report]:
        """See `Worker.exchange`. The future has a BrokenExecutor where the process is gone."""

    def again(self) -> Handle:
        """Another one in its place."""

    def close(self) -> None:
        """End it."""

    def check(self) -> None:
        """Raise Stopped where it can never answer."""


class Here:
    """A worker in this process, for few pairs, for a server's student, and for a wide one that takes all cores."""

    def __init__(self) -> None:
        self._worker = Worker(lambda student: cores() if is_wide_student(student) else None)

    def exchange(self, student: Student | None, pairs: Numbered) -> Future[Report]:
        """Works before it returns."""
        future: Future[Report] = Future()
        try:
            future.set_result(self._worker.exchange(student, pairs))
        except Exception as error:
            future.set_exception(error)
        return future

    def again(self) -> Here:
        """Another one in this process."""
        return Here()

    def close(self) -> None:
        """Give the student's memory back."""
        self._worker.close()

    def check(self) -> None:
        """This process is there."""


class Process:
    """A worker in a process of this machine, which ends with this one; `gpus` are those that it sees."""

    def __init__(self, threads: int, gpus: Sequence[int] = ()) -> None:
        self._arguments = threads, gpus
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, _start, (threads, ",".join(map(str, gpus))))

    def exchange(self, student: Student | None, pairs: Numbered) -> Future[Report]:
        """Works in the process."""
        return self._pool.submit(_exchange, student, pairs)

    def again(self) -> Process:
        """Another one with the same threads and GPUs."""
        self.close()
        return Process(*self._arguments)

    def close(self) -> None:
        """Let it end after what it does now."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self) -> None:
        """A process that is gone says so by its future."""


_worker = Worker()


def _start(threads: int, gpus: str) -> None:
    global _worker
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    _worker = Worker(lambda student: threads)


def _exchange(student: Student | None, pairs: Numbered) -> Report:
    return _worker.exchange(student, pairs)


def in_this_process(student: Student, pairs: int) -> bool:
    """Whether this process alone judges so many pairs as fast as several would, the start of these counted in."""
    if student.backend == "openai":
        return True
    if student.scoring.actors is not None:
        return False
    return pairs <= FEW or (not _gpus(student) and is_wide_student(student) and cores() <= THREADS)


def on_this_machine(student: Student, most: int) -> list[Process]:
    """The processes for a student, `most` at most: one a GPU (or as many as an actor has), else as many as share the
    cores best.

    A wide student's layers keep several threads busy, and read its weights once for all of them; a narrow student's
    threads would wait for each other, so it has a process a core.
    """
    gpus, each = _gpus(student), student.scoring.gpus_per_actor
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    best = gpus // each if gpus else best_count(student, cores(), memory)
    count = max(1, min(student.scoring.actors or best, most))
    threads = max(1, cores() // count)
    return [Process(threads, [(n * each + k) % gpus for k in range(each)] if gpus else ()) for n in range(count)]


def best_count(student: Student, cpus: int, memory: int) -> int:
    """How many processes share the CPU cores of a machine best: as many as four fifths of its memory (bytes) hold."""
    weights = sum(path.stat().st_size for path in student_files(student.model) if path.suffix in WEIGHTS)
    copies = int(0.8 * memory // (2 * weights + OVERHEAD))  # float32 of a folder in bfloat16
    return min(copies, cpus // (THREADS if is_wide_student(student) else 1))


def _gpus(student: Student) -> int:
    """How many GPUs of this machine the student may use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() and student.device in (None, "cuda") else 0


def on_cpu(student: Student) -> bool:
    """Whether it is judged on CPUs, of this machine or of the cluster."""
    from distill.rerank.backends.loading import device_of
    from distill.rerank.ray_workers import gpus_of_cluster

    return device_of(student.device).type == "cpu" and not gpus_of_cluster()


def is_wide_student(student: Student) -> bool:
    """Whether its layers are wide enough for several threads; not where an own backend has no configuration."""
    if student.backend == "openai":
        return False
    try:
        return is_wide(config_of(student.model))
    except InputError:
        return False
