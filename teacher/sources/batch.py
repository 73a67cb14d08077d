"""`source: batch`: OpenAI Batch files, uploaded and polled, or only written, for `vllm run-batch` to answer.

A file's requests are known by their `custom_id`, which is the request's id. What a file left out, expired or failed
goes into the next file, and only that. A batch that is under way when the driver dies is found again, by the state
file or by its metadata, and not submitted twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from distill.errors import EndpointError, Stopped
from distill.records import Answer, JournalEntry, Request
from distill.store import read_json, write_json
from teacher.client import guess_prompt, read_body
from teacher.connection import trusted_certificates, trusts_proxy
from teacher.faults import Action, Fault, as_error, from_status, scrubbed, shorten
from teacher.journal import encode
from teacher.preflight import demand_reasoning
from teacher.settings import Endpoint, Price, TeacherSettings
from teacher.sources.endpoints import Endpoints

if TYPE_CHECKING:
    import openai
    from openai.types import Batch as ApiBatch

    from teacher.session import Session

URL: Final[Literal["/v1/chat/completions"]] = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
MARK = "rerank-distill"


class Batch(Endpoints):
    """Through the first endpoint's Batch API, or, with `teacher.batch.folder`, files for `vllm run-batch`."""

    @property
    def price_share(self) -> float:
        """What a batch costs, as a share of the endpoint's price."""
        return self.settings.batch.discount

    def check(self) -> None:
        """Raise ValueError without an endpoint; files that are only written need a name alone."""
        if not (self.settings.batch.folder and self.settings.name):
            super().check()

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
        self._endpoint = self.settings.endpoints[0] if self.settings.endpoints else None
        self._tries: dict[str, int] = {}
        self._key = ""

    def collect(self) -> Iterator[str]:
        """Take in the answers to the files of earlier sessions; how often each request was tried is in the files."""
        for path in sorted(self._folder.glob("*.in.jsonl")):
            yield from self._settle(path)
            with open(path, "rb") as source:
                for line in source:
                    request_id = json.loads(line)["custom_id"]
                    if not self._session.index.has(request_id):
                        self._tries[request_id] = self._tries.get(request_id, 0) + 1

    def ask(self, due: dict[str, Request]) -> Iterator[str]:
        """Ask for all of `due`, in as many files and rounds as it takes."""
        while due:
            todo = [r for key, r in due.items() if self._tries.get(key, 0) < self.settings.attempts]
            for key in set(due) - {r.request_id for r in todo}:
                self._fail(key, "batch: neither an answer nor an error in any file")
                due.pop(key)
                yield key
            if not todo:
                return
            for request_id in self._settle(self._write(todo)):
                if due.pop(request_id, None) is not None:
                    yield request_id

    def _write(self, due: list[Request]) -> Path:
        model = self._endpoint.model if self._endpoint else self.settings.teacher_name
        extra = self._endpoint.extra_body if self._endpoint else {}
        lines = []
        for request in islice(self._within_budget(due), self.settings.batch.lines):
            self._tries[request.request_id] = self._tries.get(request.request_id, 0) + 1
            body = {"model": model, "messages": request.messages, **request.sampling, **extra}
            lines.append(json.dumps({"custom_id": request.request_id, "method": "POST", "url": URL, "body": body}))
        text = "\n".join(lines) + "\n"
        number = len(list(self._folder.glob("*.in.jsonl")))
        path = self._folder / f"{number:05d}.in.jsonl"
        path.with_suffix(".tmp").write_text(text, encoding="utf-8")
        path.with_suffix(".tmp").rename(path)
        self._session.asked_now += len(lines)
        return path

    def _within_budget(self, due: list[Request]) -> Iterator[Request]:
        """As many requests as the budget bears, at the price of full-length answers."""
        usd, tokens = self._session.left()
        taken = 0
        for request in due:
            prompt, most = guess_prompt(request.messages), _most_tokens(request)
            usd -= self._cost(prompt, most)
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
        """Bring one file to its end and take its answers in; yields the ids that are done with."""
        done = path.with_name(path.name.replace(".in.", ".done."))
        if done.exists():
            return
        if self.settings.batch.folder:
            out = path.with_name(path.name.replace(".in.", ".out."))
            if not out.exists():
                raise Stopped(
                    f"teacher: {path} waits for its answers; run `vllm run-batch -i {path} -o {out} --model ...` "
                    "(with a --reasoning-parser, if the model thinks), then the same command again"
                )
            texts = [out.read_bytes().decode("utf-8-sig", "replace")]
        else:
            texts = self._through_api(path)
        unreadable: list[str] = []
        for text in texts:
            # A line ends at \n only: a JSON text may hold the other line ends.
            for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
                if not line.strip():
                    continue
                try:
                    yield from self._take(line)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    unreadable.append(f"line {number}: {type(error).__name__}: {shorten(str(error), 80)}")
            if self._reasoning:
                demand_reasoning(self.settings, self._answered, self._reasoned)
        if unreadable:
            self._session.faults["batch line unreadable"] += len(unreadable)
            self._session.say(
                f"  {path.name}: {len(unreadable):,} lines of its answers cannot be read ({unreadable[0]}); "
                "their requests are asked again"
            )
        self._session.journal.tick(force=True)
        done.touch()

    def _take(self, raw: str) -> Iterator[str]:
        """Journal one line's answer; yields its request's id where it is done with. ValueError and others where the
        line is not one of an output file."""
        line = json.loads(raw)
        request_id = str(line["custom_id"])
        if self._session.index.has(request_id):
            yield request_id
            return
        response = line.get("response") or {}
        body = response.get("body") or {}
        body = json.loads(body) if isinstance(body, str) else body
        status = int(response.get("status_code") or (200 if body.get("choices") else 0))
        try:
            if not status:
                raise Fault("batch_error", shorten(json.dumps(line.get("error"))), Action.RETRY)
            if status != 200:
                raise from_status(status, json.dumps(body), {})
            reply = read_body(json.dumps(body).encode(), [], 0.0)
        except Fault as fault:
            if fault.action is Action.ROW:
                self._fail(request_id, as_error(fault, self._tries.get(request_id, 1)))
                yield request_id
            return
        reply.cost_usd = self._cost(reply.prompt_tokens, reply.completion_tokens)
        model = body.get("model")
        host = self._endpoint.host if self._endpoint else "batch file"
        answer = reply.answer(request_id, model if isinstance(model, str) else None, host, {})
        if reply.empty and self._tries.get(request_id, 0) < 2:
            self._journal(answer, "empty")
            return
        self._answered, self._reasoned = self._answered + 1, self._reasoned + bool(reply.reasoning)
        self._journal(answer)
        yield request_id

    def _fail(self, request_id: str, error: str) -> None:
        self._journal(Answer(request_id, finish_reason="error", error=error))

    def _journal(self, answer: Answer, bill: str | None = None) -> None:
        attempts = self._tries.get(answer.request_id, 1)
        self._session.take(
            [encode(JournalEntry(answer, bill, self._session.stage, attempts=attempts, time=time.time()))]
        )

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        price = (self._endpoint.price if self._endpoint else None) or Price()
        full = prompt_tokens * price.input + completion_tokens * price.output
        return self.settings.batch.discount * full / 1e6

    def _through_api(self, path: Path) -> list[str]:
        import openai

        assert self._endpoint is not None
        client = self._client(self._endpoint)
        try:
            batch = self._submitted(client, path)
            while batch.status not in OVER:
                self._session.say(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
                time.sleep(self.settings.batch.poll_s)
                batch = client.batches.retrieve(batch.id)
            self._session.say(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
            files = [file for file in (batch.output_file_id, batch.error_file_id) if file]
            if batch.status == "failed" and not files:
                raise EndpointError(f"teacher.endpoints.0: batch {batch.id} was refused: {_reasons(batch)}")
            return [client.files.content(file).text for file in files]
        except openai.APIStatusError as error:
            fault = from_status(error.status_code, error.response.text, {})
            message = scrubbed(str(fault), [self._key])
            raise EndpointError(f"teacher.endpoints.0 ({self._endpoint.base_url}): {message}") from None
        except openai.APIConnectionError as error:
            raise Stopped(f"teacher.endpoints.0: no connection ({error.__cause__ or error}); run again") from None
        finally:
            client.close()

    def _client(self, endpoint: Endpoint) -> openai.OpenAI:
        import openai

        self._key = endpoint.secret(0).get_secret_value()
        transport = openai.DefaultHttpxClient(trust_env=trusts_proxy(endpoint.base_url), verify=trusted_certificates())
        return openai.OpenAI(
            base_url=endpoint.base_url, api_key=self._key or "none", max_retries=5, http_client=transport
        )

    def _submitted(self, client: openai.OpenAI, path: Path) -> ApiBatch:
        """The batch of this file: known, found by its metadata, or made now."""
        state = path.with_name(path.name.replace(".in.", ".state."))
        known = read_json(state)
        if known:
            return client.batches.retrieve(known["batch"])
        mark = hashlib.sha256(path.read_bytes()).hexdigest()
        for batch in islice(client.batches.list(limit=100), 200):
            if (batch.metadata or {}).get(MARK) == mark:
                break
        else:
            with open(path, "rb") as source:
                upload = client.files.create(file=source, purpose="batch")
            batch = client.batches.create(
                input_file_id=upload.id,
                endpoint=URL,
                completion_window=cast(Literal["24h"], self.settings.batch.completion_window),
                metadata={MARK: mark},
            )
        write_json(state, {"batch": batch.id})
        return batch


def _most_tokens(request: Request) -> int:
    """The longest answer that a request allows, in tokens."""
    most = request.sampling.get("max_tokens")
    return most if isinstance(most, int) else 1024


def _progress(batch: ApiBatch) -> str:
    counts = batch.request_counts
    return f"{counts.completed:,} of {counts.total:,} done, {counts.failed:,} failed" if counts else "no counts yet"


def _reasons(batch: ApiBatch) -> str:
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(f"{error.code}: {error.message}" for error in errors[:3]) or "no reason given"
