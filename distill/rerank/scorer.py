"""The scorer: pairs in, students' judgements out. Behind evaluate, rounds, `distill rerank`, `calibrate` and `sweep`.

What the journal has is not judged again, and each judgement is in it before anything else is done with it; after a kill
of any process at any moment what was in flight is judged again and nothing else. A worker that is lost is replaced, and
its pairs go to the others. Pairs are handed out a few at a time, to whichever worker has few left.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace

from distill.errors import InputError, Stopped, first_line
from distill.ray_cluster import on_cluster
from distill.records import Judgement, Pair
from distill.rerank.backends import BACKENDS
from distill.rerank.calibration import Calibration, calibrated
from distill.rerank.jobs import Job, Judged, Student
from distill.rerank.journal import Journal, old_name
from distill.rerank.modes import Window, think_about
from distill.rerank.progress import Progress
from distill.rerank.ray_workers import on_the_cluster
from distill.rerank.reranker import alike, failed_text
from distill.rerank.workers import Handle, Here, Report, in_this_process, on_cpu, on_this_machine
from distill.weights import check_files

CHUNK = 64  # pairs that a worker may have ready apart from those with its engine
MANY = 32  # pairs of a query from which they are handed out together: two batches of the usual length
PIECE = 16  # pairs that are handed out together, of like length or of the same queries
SHOW_S, LOOK_S = 5.0, 10.0
DEATHS_IN_A_ROW = 3


@dataclass(slots=True)
class _Work:
    """A job under way: what has come of it, how many pairs are left, and what is shown of it."""

    job: Job
    result: Judged
    progress: Progress
    calibration: Calibration | None
    left: int = 0


Chunk = tuple[Student, list[int]]
"""A student, and the numbers of the items that go to a worker together."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A pair to be judged: its job's number, and the places of all pairs with this text."""

    job: int
    pair: Pair
    places: list[tuple[int, int]]


class Scorer:
    """Scores jobs; its workers stay for further calls until `close`. `notify` is given their progress.

    `started` is the largest number of workers that have judged together.
    """

    def __init__(
        self, journal: Journal | None = None, notify: Callable[[Progress], None] = lambda progress: None
    ) -> None:
        self.journal, self.notify = journal, notify
        self._workers: list[Handle] = []
        self.started = 0
        self._most = 0  # workers that the pairs were enough for when these were started

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and the journal."""
        self._end_workers()
        if self.journal is not None:
            self.journal.close()

    def score(self, jobs: Sequence[Job]) -> Iterator[Judged]:
        """What came of each job, as each is complete.

        All students' folders are looked at before the first pair is judged. Mode adaptive is the student's answers in
        modes direct and think, which come after those of the other jobs and are theirs where those have them. Raises
        InputError for a student that cannot judge, or that can read no query; Stopped where workers die one after
        another.
        """
        check_students(jobs)
        yield from self._score([job for job in jobs if job.student.mode != "adaptive"])
        yield from (self._adaptive(job) for job in jobs if job.student.mode == "adaptive")

    def _score(self, jobs: Sequence[Job]) -> Iterator[Judged]:
        """`score`, of jobs whose pairs are judged each by itself."""
        self._jobs = [
            _Work(
                job,
                Judged(job.name, [None] * len(job.pairs)),
                job.progress or Progress(job.name, len(job.pairs)),
                job.student.curves(),
            )
            for job in jobs
        ]
        self._items: list[_Item] = []
        queue = deque(self._chunks())
        for each in self._jobs:
            if each.progress.reused:
                self._show(each)
        yield from (self._finished(each) for each in self._jobs if not each.left)
        if queue:
            yield from self._run(queue)

    # --- what has to be judged ---------------------------------------------------------------------------------------

    def _adaptive(self, job: Job) -> Judged:
        """Direct answers, and where they are unsure thought ones, on the scale that both share."""
        calibration = job.student.curves()
        window = calibration.window if calibration and calibration.window else Window()
        (direct,) = self._score([job.asked("direct", range(len(job.pairs)))])
        queries: dict[tuple[str, str, str | None], list[int]] = {}
        for at, pair in enumerate(job.pairs):
            if direct.judgements[at] is not None:
                queries.setdefault((pair.query_id, pair.query, pair.instruction), []).append(at)
        margins = [0.0 if judgement is None else judgement.margin for judgement in direct.judgements]
        unsure = [places[n] for places in queries.values() for n in think_about([margins[at] for at in places], window)]
        (thought,) = self._score([job.asked("think", unsure)])
        after = dict(zip(unsure, thought.judgements, strict=True))
        result = Judged(job.name, [], direct.seconds + thought.seconds, direct.failed | thought.failed)
        for at, (pair, first) in enumerate(zip(job.pairs, direct.judgements, strict=True)):
            if first is None or pair.query_id in result.failed:
                result.judgements.append(None)
                continue
            made, second = replace(first, mode="adaptive.direct"), after.get(at)
            if second is not None:
                made = replace(second, mode="adaptive.think", tokens=first.tokens + second.tokens)
            result.judgements.append(calibrated(made, calibration, made.mode))
        if not job.part and not result.found:
            refuse_where_nothing_is_read(job.student, result.failed)
        return result

    def _chunks(self) -> Iterator[Chunk]:
        """(student, numbers of items that go to a worker together) of all that no journal has, in the jobs' order."""
        due: dict[tuple[str, str], _Item] = {}
        for number, work in enumerate(self._jobs):
            fresh = [item for at in range(len(work.job.pairs)) for item in self._fresh(number, at, due)]
            if not BACKENDS.load(work.job.student.backend).by_query:
                fresh = self._longest_first(fresh, work.job.student)
            yield from ((work.job.student, fresh[at : at + PIECE]) for at in range(0, len(fresh), PIECE))

    def _longest_first(self, items: list[int], student: Student) -> list[int]:
        """The longest pairs first, so that batches hold rows of like length.

        Where a student only reads, and on a CPU, a query's pairs stay together where they are many: what their prompts
        begin with, the query included, is then read once for a batch.
        """
        length = {item: len(self._items[item].pair.query) + len(self._items[item].pair.passage) for item in items}
        items = sorted(items, key=lambda item: -length[item])
        if not (student.reads and on_cpu(student)):
            return items
        queries: dict[tuple[str, str | None], list[int]] = {}
        for item in items:
            pair = self._items[item].pair
            queries.setdefault((pair.query, pair.instruction), []).append(item)
        groups: list[list[int]] = []
        for rows in queries.values():
            groups += [rows] if len(rows) >= MANY else [[item] for item in rows]
        groups.sort(key=lambda group: -length[group[0]])
        return [item for group in groups for item in group]

    def _fresh(self, number: int, at: int, due: dict[tuple[str, str], _Item]) -> list[int]:
        """The number of a pair's item, where it is the first one that has to be judged."""
        work = self._jobs[number]
        job, pair = work.job, work.job.pairs[at]
        known = None
        if self.journal is not None:
            known = self.journal.find(job.identity, pair.pair_id, old_name(pair.query_id, pair.doc_id))
        if known is not None:
            work.progress.reused += 1
            self._place(work, at, *known)
            return []
        work.left += 1
        key = (job.identity, pair.pair_id)
        if key in due:
            due[key].places.append((number, at))
            return []
        due[key] = _Item(number, pair, [(number, at)])
        self._items.append(due[key])
        return [len(self._items) - 1]

    # --- the work ----------------------------------------------------------------------------------------------------

    def _run(self, queue: deque[Chunk]) -> Iterator[Judged]:
        """Hand the chunks out, take in what comes back, and give each job's result when it is complete."""
        self._start(queue[0][0], sum(len(chunk) for _, chunk in queue))
        count = len(self._workers)
        held: list[set[int]] = [set() for _ in range(count)]
        student: list[Student | None] = [None] * count
        seconds = [0.0] * count
        calls: dict[Future[Report], int] = {}
        deaths = 0
        try:
            while any(work.left for work in self._jobs):
                for number in set(range(count)) - set(calls.values()) if queue else ():
                    calls[self._workers[number].exchange(None, ())] = number
                ready = wait(calls, timeout=LOOK_S, return_when=FIRST_COMPLETED).done
                if not ready:
                    self._workers[0].check()
                for call in ready:
                    number = calls.pop(call)
                    try:
                        report = call.result()
                    except BrokenExecutor as error:
                        deaths += 1
                        if deaths > DEATHS_IN_A_ROW * count:
                            raise Stopped(_dying(error)) from None
                        queue.extendleft(self._returned(held[number]))
                        held[number], student[number], seconds[number] = set(), None, 0.0
                        self._workers[number] = self._workers[number].again()
                        continue
                    seconds[number] += report.seconds
                    if report.judged or report.failed:
                        deaths = 0
                        yield from self._taken(report, held[number], seconds[number])
                        seconds[number] = 0.0
                    chunk = self._next(queue, student[number], held[number], report, count)
                    if chunk is not None:
                        student[number] = chunk[0]
                        held[number].update(chunk[1])
                    if held[number]:
                        pairs = [(item, self._items[item].pair) for item in chunk[1]] if chunk else []
                        calls[self._workers[number].exchange(student[number], pairs)] = number
        finally:
            if self.journal is not None:
                self.journal.sync()
            if any(held):  # stopped half-way: what they still judge belongs to nobody
                self._end_workers()

    def _next(
        self, queue: deque[Chunk], student: Student | None, held: set[int], report: Report, workers: int
    ) -> Chunk | None:
        """What a worker is given now: as much as its engine takes, but no more than its share of what is left."""
        if not queue or (held and queue[0][0] is not student):
            return None
        student = queue[0][0]
        left = sum(work.left for work in self._jobs if work.job.student is student)
        room = min(report.free - report.waiting + CHUNK, math.ceil(left / workers) - len(held))
        given: list[int] = []
        while queue and queue[0][0] is student and (not (given or held) or len(given) + len(queue[0][1]) <= room):
            given += queue.popleft()[1]
        return (student, given) if given else None

    def _returned(self, items: set[int]) -> Iterator[Chunk]:
        """The pairs of a worker that was lost, to be judged by the others."""
        by_student: dict[int, list[int]] = {}
        for item in sorted(items):
            by_student.setdefault(self._items[item].job, []).append(item)
        return ((self._jobs[job].job.student, given) for job, given in by_student.items())

    def _taken(self, report: Report, held: set[int], seconds: float) -> Iterator[Judged]:
        """Journal what a worker has judged, and give the results of the jobs that are complete by it."""
        rows: list[tuple[int, Judgement | str]] = [*report.judged, *report.failed]
        share = seconds / len(rows)
        touched = {}
        for number, judgement in rows:
            item = self._items[number]
            held.discard(number)
            if self.journal is not None:
                self.journal.append(self._jobs[item.job].job.identity, item.pair.pair_id, judgement, share)
            for job, at in item.places:
                work = self._jobs[job]
                work.left -= 1
                work.progress.began = work.progress.began or time.monotonic() - seconds
                self._place(work, at, judgement, share if (job, at) == item.places[0] else 0.0)
                if isinstance(judgement, Judgement):
                    work.progress.count(judgement)
                touched[job] = work
        self._jobs[self._items[rows[0][0]].job].progress.tokens += report.tokens
        for work in touched.values():
            self._show(work)
            if not work.left:
                yield self._finished(work)

    def _place(self, work: _Work, at: int, judgement: Judgement | str, seconds: float) -> None:
        """Put a judgement, or why there is none, to its pair."""
        pair, result = work.job.pairs[at], work.result
        if isinstance(judgement, str):
            result.failed[pair.query_id] = judgement
        else:
            own = replace(judgement, query_id=pair.query_id, doc_id=pair.doc_id)
            result.judgements[at] = calibrated(own, work.calibration, work.job.student.curve)
        result.seconds += seconds
        work.progress.done += 1

    def _finished(self, work: _Work) -> Judged:
        job, result = work.job, work.result
        work.result = Judged(job.name, [])  # the caller's from here on
        if not job.part and not result.found:
            refuse_where_nothing_is_read(job.student, result.failed)
        warning = alike(job.student.model, result.found)
        if warning:
            self.notify(replace(work.progress, warning=warning))
        return result

    def _show(self, work: _Work) -> None:
        """Show progress where it is due: the first pairs, then every few seconds, and the last."""
        now = time.monotonic()
        if not work.left or now - work.progress.shown >= SHOW_S:
            work.progress.shown = now
            self.notify(work.progress)

    # --- the workers -------------------------------------------------------------------------------------------------

    def _start(self, student: Student, pairs: int) -> None:
        """The workers for so many pairs, where there are none that serve."""
        here = in_this_process(student, pairs)
        most = math.ceil(pairs / CHUNK)
        more = len(self._workers) == self._most < most  # there were too few pairs for all workers that there may be
        if self._workers and (here or not (isinstance(self._workers[0], Here) or more)):
            return
        self._end_workers()
        self._most = most
        if student.backend != "openai" and on_cluster():
            self._workers = [*on_the_cluster(student, most)]
        else:
            self._workers = [Here()] if here else [*on_this_machine(student, most)]
        self.started = max(self.started, len(self._workers))

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.close()
        self._workers = []


def check_students(jobs: Iterable[Job]) -> None:
    """Raise InputError for a student whose folder cannot judge, before the first pair is judged."""
    students = [student for job in jobs for student in (job.student, job.student.first) if student is not None]
    for student in {student.model: student for student in students}.values():
        check_files(student.model, weights=student.backend != "openai")


def refuse_where_nothing_is_read(student: Student, failed: Mapping[str, str]) -> None:
    """Raise InputError where queries are too long; to be called where nothing was judged."""
    if failed:
        raise InputError(
            f"{student.model}: every query is too long for this student's context ({failed_text(failed)}); shorten "
            "them, or lower the bound on the reasoning"
        )


def _dying(error: BaseException) -> str:
    return (
        f"scoring: its workers die one after another ({first_line(error)}); nothing that was judged is lost: see "
        "whether their memory suffices (scoring.actors), and run again"
    )
