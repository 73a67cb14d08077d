"""A session with the teacher: requests in, journalled answers out, within the budget. For the stages that ask.

The session is in the driver. It is the journal's one writer, hands requests to the workers and takes their answers in.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import SecretStr

from distill.errors import DistillError, Stopped
from distill.processes import in_background
from distill.records import Answer, Request
from distill.store import lease
from distill.url_lease import UrlLease
from distill.urls import is_url
from teacher.actors import ActorPool
from teacher.budgets import Budgets
from teacher.endpoint import Endpoint
from teacher.faults import remedy_of
from teacher.index import TRACE, JournalIndex
from teacher.journal import Journal, decode
from teacher.keys import Keys
from teacher.messages import Call, WireRequest, WorkerReport
from teacher.preflight import demand_reasoning, preflight
from teacher.prices import price_text
from teacher.progress import TeacherProgress
from teacher.reasoning import answering
from teacher.refusals import FIRST, Refusals
from teacher.settings import AskingStage, TeacherSettings
from teacher.verdict_watch import VerdictWatch

PULL = 2_000
WORKER_LOST = "worker_lost"  # the name, among the faults, of a worker's death


class Session:
    """A session with the teacher over one journal; a context manager.

    `folder` holds the journal (`folder/journal`), unless the settings name another place. `endpoints` replace the
    settings' own (the embedded teacher's port), which changes no request's id. With `retry_failed` what failed for good
    is asked again. `stage` is the one that pays. Raises RunFolderError while another session has the journal.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        folder: Path,
        *,
        endpoints: list[Endpoint] | None = None,
        retry_failed: bool = False,
        progress: TeacherProgress | None = None,
        stage: AskingStage = TRACE,
    ) -> None:
        self.settings, self.folder, self.stage = settings, folder, stage
        self.source = settings.made_source()
        self.endpoints = settings.asked_at(settings.endpoints if endpoints is None else endpoints)
        self.retry_failed = retry_failed
        self._progress = progress or TeacherProgress(None, None, quiet=True)
        self.say = self._progress.say
        self.actors: ActorPool | None = None
        self._held = ExitStack()  # the journal's lease and the workers, let go in reverse
        self._held.enter_context(lease(folder))
        self._held.callback(self._dismiss)
        self._scratch = folder / ".index.sqlite"
        self._url_lease: UrlLease | None = None
        try:
            self._hold(settings.journal, folder / ".journal")
            self.journal = Journal(settings.journal or folder / "journal", folder / ".journal")
            self.index = JournalIndex(self.journal, self._scratch)
        except BaseException:
            self._held.close()
            raise
        self.budgets = Budgets(settings, stage, self.index)
        self.asked_now = self.known = self.answered_now = self.failed_now = 0
        self.in_flight = self.window = self.tokens_now = 0
        self.faults: Counter[str] = Counter()
        self.unknown_finishes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.verdicts: VerdictWatch | None = None  # set by a stage whose answers hold a verdict
        self._refusals = Refusals(settings.teacher_name)
        self.started: float | None = None
        self._calls: list[Call] = []
        self._waiting: deque[WireRequest] = deque()
        self._open: set[str] = set()  # ids that wait or are with a worker
        self._states: dict[int, WorkerReport] = {}
        self._keys: Keys | None = None
        self._renewed: dict[int, dict[int, SecretStr | None]] = {}  # by actor, for the next exchange with it
        self._warned: set[int] = set()
        self._stop: Stopped | None = None  # raised once what is in flight has been answered
        self._stopping: set[int] = set()  # actors that know that the budget is spent or the run stops, and
        self._stopped: set[int] = set()  # those of them with nothing in flight

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self.actors:
                self._progress.end(self)
            self.journal.close()
        finally:
            self.index.close()
            self._scratch.unlink(missing_ok=True)
            self._held.close()

    def _hold(self, journal: str | None, scratch: Path) -> None:
        """Keep other runs out of a journal that is not in the run's own folder."""
        if journal is not None and is_url(journal):
            self._url_lease = self._held.enter_context(UrlLease(journal, scratch, self.say))
        elif journal is not None:
            self._held.enter_context(lease(Path(journal)))

    def ask(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """One answer a request, in order of arrival, journalled before it is yielded (`records.Ask`)."""
        for request_id in self.finished(requests):
            answer = self.index.answer(request_id)
            assert answer is not None
            yield answer

    def finished(self, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """The id of each request once it is answered or has failed for good, those of earlier sessions included.

        A None among the requests says that there is none just now. With `reasoning`, answers are expected to hold
        some. Several of these may be under way, one within another. Raises EndpointError (nobody to ask; no reasoning
        at all), Stopped (budget reached; teacher away; batch files wait for their answers).
        """
        return self.source.finished(self, requests, reasoning)

    def ask_workers(self, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """`finished`, by the workers. What one call takes in for another waits there."""
        call = Call()
        self._calls.append(call)
        try:
            yield from self._answered(call, iter(requests), reasoning)
        finally:
            self._calls.remove(call)
            self._drop({key for key in call.copies if not any(key in other.copies for other in self._calls)})

    def _answered(self, call: Call, source: Iterator[Request | None], reasoning: bool) -> Iterator[str]:
        exhausted = False
        while True:
            room = (self.actors.room if self.actors else 2 * self.settings.concurrency) * self.settings.workers
            for _ in range(PULL):
                if exhausted or len(call.copies) >= room + PULL // 2:
                    break
                try:
                    request = next(source)
                except StopIteration:
                    exhausted = True
                    break
                if request is None:
                    break
                key = request.request_id
                if key in call.copies:
                    call.copies[key] += 1
                elif self.index.has(key, self.retry_failed):
                    self.note_known(key)
                    yield key
                else:
                    call.copies[key] = 1
                    if key not in self._open:
                        self._open.add(key)
                        self._waiting.append((key, request.messages, request.sampling, request.purpose))
            if exhausted and not call.copies:
                return
            if call.copies and not call.answered:
                self._turn(reasoning)
            while call.answered:
                key = call.answered.popleft()
                for _ in range(call.copies.pop(key)):
                    yield key

    def check_lease(self) -> None:
        """Raise Stopped where another job has taken this one for dead and has the journal now."""
        if self._url_lease is not None:
            self._url_lease.check()

    def _drop(self, unwanted: set[str]) -> None:
        """Forget requests that nobody waits for any more, as far as they have not been handed out."""
        if unwanted:
            self._open -= {request[0] for request in self._waiting if request[0] in unwanted}
            self._waiting = deque(request for request in self._waiting if request[0] not in unwanted)

    def _turn(self, reasoning: bool) -> None:
        """Hand out work, take in what has come."""
        actors = self.actors or self._assemble()
        self._hand(actors)
        reports, left = actors.collect(0.25)
        self._waiting.extendleft(left)
        self.asked_now -= len(left)
        if actors.lost:  # each may have had its share of `concurrency` answered that is now paid for again
            self.faults[WORKER_LOST] = actors.lost
        for number, report in reports:
            self._states[number] = report
            if number in self._stopping and report.in_flight == 0:
                self._stopped.add(number)
            self.faults.update(report.faults)
            self._receive(report)
            if report.expired:
                self.journal.tick(force=True)  # the command may take minutes
            if self._keys is not None and (report.expired or report.accepted):
                self._renewed[number] = self._keys.renewed(report)
        self._hand(actors)  # before anything else: it tells the actor that its answers are journalled
        self.journal.tick()
        self.check_lease()
        self.in_flight = sum(state.in_flight for state in self._states.values())
        self.window = sum(state.window for state in self._states.values())
        self._check(actors, reasoning)
        self._progress.turn(self)

    def _receive(self, report: WorkerReport) -> None:
        """Journal what a worker hands over, and tell the callers; until the first answer, failures are held back."""
        if not self._refusals.open:
            self.take(report.lines)
            self._tell_callers(report.done)
            return
        held = set(self._refusals.held)
        self.take(self._refusals.sift(report.lines))
        done = held.union(report.done) if not self._refusals.open else set(report.done) - set(self._refusals.held)
        self._tell_callers(done)

    def _tell_callers(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._open.discard(key)
            for call in self._calls:
                if key in call.copies:
                    call.answered.append(key)

    def _check_refusals(self) -> None:
        """Raise Stopped where everything is refused alike; release failures that are the rows' own."""
        held = self._refusals.held
        all_done = not self._waiting and all(key in held for key in self._open)
        if not held or not (all_done or len(held) >= FIRST):
            return
        if not (self.retry_failed and self.known) and self._refusals.alike(self.known, all_done):
            self.take(self._refusals.bills())
            self.journal.tick(force=True)
            raise self._refusals.stopped()
        keys = list(held)
        self.take(self._refusals.release())
        self._tell_callers(keys)

    def note_known(self, request_id: str) -> None:
        """Count a request that the journal answers."""
        self.known += 1
        if self.verdicts is not None and self.verdicts.undecided:
            answer = self.index.answer(request_id)
            if answer is not None:
                self._see_verdict(answer)
            if stop := self.verdicts.reason_to_stop():
                raise stop

    def _see_verdict(self, answer: Answer) -> None:
        if self.verdicts is not None and (text := self.verdicts.see(answer)):
            self.say(text)

    def _hand(self, actors: ActorPool) -> None:
        usd, tokens = self.budgets.left() if self._stop is None else (0.0, 0.0)
        for number in actors.idle():
            requests: list[WireRequest] = []
            if number not in actors.ready:
                pass
            elif usd > 0 and tokens > 0:
                free = actors.room - len(actors.held[number])
                requests = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
            else:
                self._stopping.add(number)
            self.asked_now += len(requests)
            share = usd / len(actors.actors), tokens / len(actors.actors)
            actors.hand(number, requests, *share, self._renewed.pop(number, None))

    def take(self, lines: Sequence[bytes]) -> None:
        """Append lines to the journal, and count their answers. Each line is an encoded entry of this stage."""
        if not lines:
            return
        for place, line in zip(self.journal.append(lines), lines, strict=True):
            entry = decode(line)
            assert entry is not None
            self.index.add(place, entry)
            answer = entry.answer
            self.tokens_now += answer.prompt_tokens + answer.completion_tokens
            if entry.bill is None:
                self.answered_now += answer.error is None
                self.failed_now += answer.error is not None
                if answer.error is not None:
                    self._count_failure(answer.error)
                elif entry.purpose == TRACE:
                    self._see_verdict(answer)
                if answer.unknown_finish is not None:
                    self._count_unknown_finish(answer.unknown_finish)

    def _count_failure(self, error: str) -> None:
        kind = error.split(":")[0]
        if not self.failures[kind]:
            self.say(f"  a request has failed for good: {error}; {remedy_of(kind, self.settings.teacher_name)}")
        self.failures[kind] += 1

    def _count_unknown_finish(self, word: str) -> None:
        if not self.unknown_finishes[word]:
            self.say(
                f"  the server ends answers with finish_reason {word!r}, which is unknown here: they are taken as "
                "complete, and counted"
            )
        self.unknown_finishes[word] += 1

    def _check(self, actors: ActorPool, reasoning: bool) -> None:
        states = [state for number, state in self._states.items() if number in actors.ready]
        self._look_at_verdicts()
        if self._stopped and self._stopped >= actors.ready:
            self.journal.tick(force=True)
            raise self._stop or self.budgets.reached()
        for state in states:
            if len(state.dead) == state.endpoints:
                gone = self._keys.gone if self._keys is not None else {}
                reasons = "; ".join(why + (f": {gone[n]}" if n in gone else "") for n, why in state.dead.items())
                raise Stopped(f"teacher: no endpoint is left ({reasons}); nothing is lost, run again")
            for number, why in state.dead.items():
                if number not in self._warned:
                    self._warned.add(number)
                    self.faults[f"teacher.endpoints.{number} ({self.endpoints[number].host}) disabled: {why}"] += 1
        if not states and time.monotonic() - (self.started or 0) > max(60.0, self.settings.give_up_after_s):
            raise Stopped(
                f"teacher: Ray has placed no worker for {time.monotonic() - (self.started or 0):.0f} s; each needs "
                f"{self.settings.actor.model_dump(exclude_defaults=False)} (teacher.actor); nothing is lost"
            )
        away = [state.away_s for state in states]
        if away and min(away) > self.settings.give_up_after_s:
            common = ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common(3))
            raise Stopped(
                f"teacher: no endpoint has answered for {min(away):.0f} s (teacher.give_up_after_s; {common}); "
                "nothing is lost, run again when it is back"
            )
        self._check_refusals()
        if reasoning:
            demand_reasoning(
                self.settings, sum(state.answered for state in states), sum(state.reasoned for state in states)
            )

    def _look_at_verdicts(self) -> None:
        """Let the workers stop where the answers are of no use, and go on where one in flight then was."""
        before, self._stop = self._stop, self.verdicts.reason_to_stop() if self.verdicts is not None else None
        if before is not None and self._stop is None:
            self._stopping.clear()
            self._stopped.clear()

    def _assemble(self) -> ActorPool:
        if min(self.budgets.left()) <= 0:
            raise self.budgets.reached()
        endpoints = [endpoint.with_secrets(number) for number, endpoint in enumerate(self.endpoints)]
        self._keys = Keys(endpoints, self.say)
        keys = self._keys.current
        self._progress.begin(self.endpoints, self)
        self._say_unnamed()
        self.say_prices()
        # Ray takes seconds to start, and the preflight goes on in the meantime.
        sampling, say = self.settings.sampling(0), self.say if self.settings.reasoning is not None else None
        bills = in_background(lambda: preflight(endpoints, keys, self.settings.deadline_s, sampling, self.stage, say))
        self.actors = ActorPool(self.settings, endpoints, keys, self.stage)
        try:
            self.take(bills())
        except DistillError:
            self._dismiss()
            raise
        self.started = time.monotonic()
        return self.actors

    def _say_unnamed(self) -> None:
        """Say which of an endpoint's own fields may change answers without changing what a request is known by."""
        fields = sorted({name for endpoint in self.settings.endpoints for name in answering(endpoint)})
        if fields:
            self.say(
                f"  teacher.endpoints.0.extra_body: {', '.join(fields)} may change answers, and no request asks anew "
                "when it changes; write it as teacher.extra_body (or teacher.reasoning), which does"
            )

    def say_prices(self) -> None:
        """Say by which prices the endpoints' cost is counted, where the settings name none."""
        if self.source.priced and self.endpoints:
            texts = [price_text(e, n, self.settings.prices) for n, e in enumerate(self.settings.endpoints)]
            for text in filter(None, texts):
                self.say(f"  {text}")

    def _dismiss(self) -> None:
        if self.actors is not None:
            self.actors.close()
            self.actors = None
