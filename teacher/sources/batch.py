"""`source: batch`: files of requests, submitted to a batch API and polled, or only written for `vllm run-batch`.

A file's requests are known by their `custom_id`, which is the request's id. What a file left out, expired or failed
goes into the next file, and only that, until it was in `teacher.attempts` files, those of earlier sessions included. A
batch that is under way when the driver dies is found again, by the state file or by its metadata, and not submitted
twice. `NNNNN.done.jsonl` says what became of a file.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.answers import JsonObject, JsonValue
from distill.errors import Stopped
from distill.records import Answer, JournalEntry, Request
from distill.store import read_json, write_json
from distill.tables import counted
from teacher.batch_api import OpenAIBatches, done_file, openai_line
from teacher.client import guess_prompt, read_body
from teacher.faults import Action, Fault, as_error, explained, from_status, shorten
from teacher.journal import encode
from teacher.message_batches import HOST, MessageBatches
from teacher.preflight import demand_reasoning
from teacher.refusals import Refusals
from teacher.settings import TeacherSettings
from teacher.sources.endpoints import Endpoints

if TYPE_CHECKING:
    from teacher.session import Session


class Batch(Endpoints):
    """Through the first endpoint's batch API, or, with `teacher.batch.folder`, files for `vllm run-batch`."""

    @property
    def anthropic(self) -> bool:
        """Whether the first endpoint speaks Anthropic's protocol, not OpenAI's."""
        batch, endpoints = self.settings.batch, self.settings.endpoints
        by_host = "anthropic" if endpoints and endpoints[0].host == HOST else "openai"
        return not batch.folder and (batch.api or by_host) == "anthropic"

    @property
    def price_share(self) -> float:
        """What a batch costs, as a share of the endpoint's price."""
        return self.settings.batch.discount

    def check(self) -> None:
        """Raise ValueError without an endpoint, unless files are only written, which need a name alone; and for what
        Anthropic's protocol lacks."""
        settings = self.settings
        if not (settings.batch.folder and settings.name):
            super().check()
        if self.anthropic and settings.seed is not None:
            raise ValueError("seed: Anthropic's messages have none; leave it out")
        if self.anthropic and settings.reasoning not in (None, False) and settings.temperature != 1:
            raise ValueError(
                f"temperature: Claude thinks at 1 and no other; set temperature: 1 ({settings.temperature:g})"
            )

    def finished(self, session: Session, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
        """The id of each request once it is answered or has failed for good (see `Session.finished`).

        Raises Stopped when files wait to be answered elsewhere or the budget is reached, EndpointError when the API
        refuses the upload, or the answers hold no `reasoning` where they should.
        """
        files = BatchFiles(session, reasoning)
        source = iter(requests)
        yield from files.collect()
        while True:
            due: dict[str, Request] = {}
            ended = True
            for request in source:
                if request is None:
                    ended = False
                    break
                if session.index.has(request.request_id, session.retry_failed):
                    session.note_known(request.request_id)
                    yield request.request_id
                else:
                    due[request.request_id] = request
                if len(due) >= self.settings.batch.lines:
                    ended = False
                    break
            if due:
                yield from files.ask(due)
            elif ended:
                return


class BatchFiles:
    """Writes, submits, polls and reads batch files. They and their state are in `batch/`, in the journal's folder."""

    def __init__(self, session: Session, reasoning: bool) -> None:
        self._session, self._reasoning = session, reasoning
        self._answered = self._reasoned = 0
        self.settings: TeacherSettings = session.settings
        batch = self.settings.batch
        self._folder = Path(batch.folder) if batch.folder else session.folder / "batch"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._endpoint = session.endpoints[0] if session.endpoints else None
        self._price, self._share = self._endpoint.price if self._endpoint else None, batch.discount
        self._tries: Counter[str] = Counter()
        self._last_reason = "neither an answer nor an error in any file"
        self._refusals = Refusals(self.settings.teacher_name)
        protocol = MessageBatches if isinstance(session.source, Batch) and session.source.anthropic else OpenAIBatches
        self._api = protocol(self._endpoint, batch, session.say) if self._endpoint and not batch.folder else None
        self._no_credit: Fault | None = None

    def collect(self) -> Iterator[str]:
        """Take in the answers to the files of earlier sessions, and count what was in them as tried."""
        paths = sorted(self._folder.glob("*.in.jsonl"))
        for path in paths if not self._session.retry_failed else ():
            outcome = read_json(done_file(path)) or {}
            if outcome.get("tried", True):
                with path.open("rb") as lines:
                    tried = [str(json.loads(line)["custom_id"]) for line in lines]
                self._tries.update(request_id for request_id in tried if not self._session.index.has(request_id))
            self._last_reason = outcome.get("reason") or self._last_reason
        for path in paths:
            yield from self._settle(path)

    def ask(self, due: dict[str, Request]) -> Iterator[str]:
        """Ask for all of `due`, in as many files and rounds as it takes."""
        while due:
            todo = [r for key, r in due.items() if self._tries[key] < self.settings.attempts]
            for key in set(due) - {r.request_id for r in todo}:
                self._session.take(
                    [self._failure(key, f"batch: {self._last_reason} (after {counted(self._tries[key], 'attempt')})")]
                )
                due.pop(key)
                yield key
            if not todo:
                return
            for request_id in self._settle(self._write(todo)):
                if due.pop(request_id, None) is not None:
                    yield request_id

    def _write(self, due: list[Request]) -> Path:
        lines = []
        for request in islice(self._within_budget(due), self.settings.batch.lines):
            self._tries[request.request_id] += 1
            lines.append(json.dumps(self._line(request)))
        text = "\n".join(lines) + "\n"
        number = len(list(self._folder.glob("*.in.jsonl")))
        path = self._folder / f"{number:05d}.in.jsonl"
        path.with_suffix(".tmp").write_text(text, encoding="utf-8")
        path.with_suffix(".tmp").rename(path)
        self._session.asked_now += len(lines)
        return path

    def _line(self, request: Request) -> JsonObject:
        if self._api is not None:
            return self._api.line(request)
        if self._endpoint is not None:
            return openai_line(request, self._endpoint.body(request.messages, request.sampling))
        messages: JsonValue = [{**message} for message in request.messages]
        body: JsonObject = {"model": self.settings.teacher_name, "messages": messages, **request.sampling}
        return openai_line(request, {**body, **self.settings.server_body()})

    def _within_budget(self, due: list[Request]) -> Iterator[Request]:
        """As many requests as the budget bears, at the price of full-length answers."""
        usd, tokens = self._session.budgets.left()
        taken = 0
        for request in due:
            prompt, most = guess_prompt(request.messages), _most_tokens(request)
            usd -= self._price.cost(prompt, 0, most, self._share) if self._price else 0.0
            tokens -= prompt + most
            if usd < 0 or tokens < 0:
                break
            taken += 1
            yield request
        if not taken:
            raise Stopped(
                f"teacher: the budget does not bear another batch ({self._session.index.spent_usd:,.2f} USD and "
                f"{self._session.index.spent_tokens:,} tokens were billed); raise budget_usd or budget_tokens, "
                "run again"
            )

    def _settle(self, path: Path) -> Iterator[str]:
        """Bring one file to its end and take its answers in; yields the ids that are done with.

        Raises Stopped where every request of the first files was refused alike, or no verdict can be read.
        """
        if done_file(path).exists():
            return
        if self.settings.batch.folder:
            out = path.with_name(path.name.replace(".in.", ".out."))
            if not out.exists():
                raise Stopped(
                    f"teacher: {path} waits for its answers; run `vllm run-batch -i {path} -o {out} --model ...` "
                    "(with a --reasoning-parser, if the model thinks), then the same command again"
                )
            texts = {str(out): out.read_bytes().decode("utf-8-sig", "replace")}
        else:
            assert self._api is not None
            texts = self._api.answers(path)
            self._last_reason = self._api.last_status
        unreadable: list[str] = []
        for name, text in texts.items():
            # A line ends at \n only: a JSON text may hold the other line ends.
            for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                    request_id, outcome = str(value["custom_id"]), _body_of(value)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    unreadable.append(f"line {number}: {type(error).__name__}: {shorten(str(error), 80)}, in {name}")
                else:
                    yield from self._accept(request_id, *outcome)
        if unreadable:
            self._session.faults["batch line unreadable"] += len(unreadable)
            self._session.say(
                f"  {path.name}: {counted(len(unreadable), 'line')} of its answers cannot be read ({unreadable[0]}); "
                "their requests are asked again"
            )
        self._session.journal.tick(force=True)
        self._session.check_lease()
        with path.open("rb") as lines:
            all_refused = len(self._refusals.held) == sum(1 for _ in lines)
        if self._refusals.alike(self._session.known, all_refused):
            write_json(done_file(path), {"tried": False, "reason": "every request was refused"})
            raise self._refusals.stopped()
        held = list(self._refusals.held)
        self._session.take(self._refusals.release())
        yield from held
        write_json(done_file(path), {"tried": self._no_credit is None, "unreadable": len(unreadable)})
        if self._no_credit:
            raise Stopped(f"teacher: {explained(self._no_credit, self.settings.teacher_name)}")
        self._check_answers()

    def _check_answers(self) -> None:
        """Raise EndpointError or Stopped where the answers hold no reasoning or no verdict at all."""
        if self._reasoning:
            demand_reasoning(self.settings, self._answered, self._reasoned)
        verdicts = self._session.verdicts
        if verdicts is not None and (stop := verdicts.reason_to_stop()):
            raise stop

    def _accept(self, request_id: str, status: int, body: JsonObject, error: JsonValue) -> Iterator[str]:
        """Journal one line's answer or failure; yields the request's id, unless it is to be asked again."""
        if self._session.index.has(request_id, self._session.retry_failed):
            yield request_id
            return
        try:
            if not status:
                raise Fault("batch_error", shorten(json.dumps(error)), Action.RETRY)
            if status != 200:
                raise from_status(status, json.dumps(body), {})
            reply = read_body(json.dumps(body).encode(), [], 0.0)
        except Fault as fault:
            self._session.faults[fault.kind] += 1
            if fault.kind == "no_credit":
                self._no_credit = fault
            if fault.action is Action.ROW:
                failure = self._refusals.sift([self._failure(request_id, as_error(fault, self._tries[request_id]))])
                self._session.take(failure)
                if failure:
                    yield request_id
            return
        if self._endpoint:
            reply.bill(self._price, self._share)
        host = self._endpoint.host if self._endpoint else "batch file"
        model = body.get("model")
        answer = reply.answer(request_id, model if isinstance(model, str) else None, host, {})
        if reply.empty and self._tries[request_id] < 2:
            self._session.take([self._entry(answer, "empty")])
            return
        self._answered, self._reasoned = self._answered + 1, self._reasoned + bool(reply.reasoning)
        earlier = list(self._refusals.held)
        self._session.take(self._refusals.sift([self._entry(answer)]))
        yield from [*earlier, request_id]

    def _failure(self, request_id: str, error: str) -> bytes:
        return self._entry(Answer(request_id, finish_reason="error", error=error))

    def _entry(self, answer: Answer, bill: str | None = None) -> bytes:
        attempts = max(1, self._tries[answer.request_id])
        return encode(JournalEntry(answer, bill, self._session.stage, attempts=attempts, time=time.time()))


def _body_of(line: dict[str, Any]) -> tuple[int, JsonObject, JsonValue]:
    """(HTTP status, body, error) of a line of an output file. Raises TypeError and others where it is none."""
    response = line.get("response") or {}
    body = response.get("body") or {}
    body = json.loads(body) if isinstance(body, str) else body
    return int(response.get("status_code") or (200 if body.get("choices") else 0)), body, line.get("error")


def _most_tokens(request: Request) -> int:
    """The longest answer that a request allows, in tokens."""
    most = request.sampling.get("max_tokens")
    return most if isinstance(most, int) else 1024
