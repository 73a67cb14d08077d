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
from typing import TYPE_CHECKING, Any

from distill.config import is_local
from distill.errors import EndpointError, Stopped
from distill.records import Request
from distill.store import read_json, write_json
from teacher.client import guess_prompt, read_body
from teacher.faults import Action, Fault, as_error, from_status, scrubbed
from teacher.preflight import demand_reasoning
from teacher.settings import Endpoint, Price, TeacherSettings

if TYPE_CHECKING:
    import openai

    from teacher.session import Session

URL: Any = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
MARK = "rerank-distill"


def finished(asking: Session, requests: Iterable[Request | None], reasoning: bool = False) -> Iterator[str]:
    """The id of each request once it is answered or has failed for good (see Asking.finished).

    Raises Stopped when files wait to be answered elsewhere or the budget is reached, EndpointError when the API
    refuses the upload, or the answers hold no `reasoning` where they should.
    """
    office = BatchFiles(asking, reasoning)
    source = iter(requests)
    yield from office.collect()
    while True:
        due: dict[str, Request] = {}
        ended = True
        for request in source:
            if request is None:
                ended = False
                break
            if asking.index.has(request.request_id, asking.retry_failed):
                asking.known += 1
                yield request.request_id
            else:
                due[request.request_id] = request
            if len(due) >= asking.settings.batch.lines:
                ended = False
                break
        if due:
            yield from office.ask(due)
        elif ended:
            return


class BatchFiles:
    """Writes, submits, polls and reads batch files; `batch/` beside the journal holds them and their state."""

    def __init__(self, asking: Session, reasoning: bool) -> None:
        self._asking, self._reasoning = asking, reasoning
        self._answered = self._reasoned = 0
        self.settings: TeacherSettings = asking.settings
        batch = self.settings.batch
        self._folder = Path(batch.folder) if batch.folder else asking.folder / "batch"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._endpoint = self.settings.endpoints[0] if self.settings.endpoints else None
        self._tries: dict[str, int] = {}
        self._key = ""

    def collect(self) -> Iterator[str]:
        """Take in the answers to the files of earlier sessions."""
        for path in sorted(self._folder.glob("*.in.jsonl")):
            yield from self._settle(path)

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
        self._asking.asked_now += len(lines)
        return path

    def _within_budget(self, due: list[Request]) -> Iterator[Request]:
        """As many requests as the budget bears, at the price of full-length answers."""
        usd, tokens = self._asking.left()
        taken = 0
        for request in due:
            prompt, most = guess_prompt(request.messages), int(request.sampling.get("max_tokens", 1024))
            usd -= self._cost({"prompt_tokens": prompt, "completion_tokens": most})
            tokens -= prompt + most
            if usd < 0 or tokens < 0:
                break
            taken += 1
            yield request
        if not taken:
            raise Stopped(
                f"teacher: the budget does not bear another batch ({self._asking.index.spent_usd:,.2f} USD and "
                f"{self._asking.index.spent_tokens:,} tokens were billed); raise budget_usd or budget_tokens, run again"
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
            texts = [out.read_text(encoding="utf-8-sig")]
        else:
            texts = self._through_api(path)
        for text in texts:
            for line in text.removeprefix("\ufeff").split("\n"):  # a JSON text may hold the other line ends
                if line.strip():
                    yield from self._take(line)
            if self._reasoning:
                demand_reasoning(self.settings, self._answered, self._reasoned)
        self._asking.journal.tick(force=True)
        done.touch()

    def _take(self, raw: str) -> Iterator[str]:
        try:
            line = json.loads(raw)
            request_id = line["custom_id"]
        except (json.JSONDecodeError, KeyError, TypeError):
            return  # its request is in no answer, and so asked again
        if self._asking.index.has(request_id):
            yield request_id
            return
        response = line.get("response") or {}
        body, status = response.get("body") or {}, int(response.get("status_code") or 0)
        try:
            if line.get("error") and not status:
                raise Fault("batch_error", json.dumps(line["error"])[:300], Action.RETRY)
            if status != 200:
                raise from_status(status, json.dumps(body), {})
            reply = read_body(json.dumps(body).encode(), [], 0.0)
        except Fault as fault:
            if fault.course is Action.ROW:
                self._fail(request_id, as_error(fault, 1))
                yield request_id
            return
        usage = body.get("usage") or {}
        answer = {
            "id": request_id,
            "reasoning": reply.reasoning,
            "content": reply.content,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "cost_usd": self._cost({**usage, **_counted(reply)}),
            "latency_s": 0.0,
            "estimated": reply.estimated,
            "model": body.get("model"),
            "host": self._endpoint.host if self._endpoint else "batch file",
            "sampling": None,
        }
        if reply.empty and self._tries.get(request_id, 0) < 2:
            self._asking.take(
                [_line({"bill": request_id, "kind": "empty", **_counted(reply), "cost_usd": answer["cost_usd"]})]
            )
            return
        self._answered, self._reasoned = self._answered + 1, self._reasoned + bool(reply.reasoning)
        self._asking.take([_line(answer)])
        yield request_id

    def _fail(self, request_id: str, error: str) -> None:
        line = {"id": request_id, "error": error, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}
        self._asking.take([_line(line)])

    def _cost(self, usage: dict[str, Any]) -> float:
        price = (self._endpoint.price if self._endpoint else None) or Price()
        whole = usage["prompt_tokens"] * price.input + usage["completion_tokens"] * price.output
        return self.settings.batch.discount * float(whole) / 1e6

    def _through_api(self, path: Path) -> list[str]:
        import openai

        assert self._endpoint is not None
        client = self._client(self._endpoint)
        try:
            batch = self._submitted(client, path)
            while batch.status not in OVER:
                self._asking.told(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
                time.sleep(self.settings.batch.poll_s)
                batch = client.batches.retrieve(batch.id)
            self._asking.told(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
            found = [file for file in (batch.output_file_id, batch.error_file_id) if file]
            if batch.status == "failed" and not found:
                raise EndpointError(f"teacher.endpoints.0: batch {batch.id} was refused: {_reasons(batch)}")
            return [client.files.content(file).text for file in found]
        except openai.APIStatusError as error:
            said = scrubbed(str(from_status(error.status_code, error.response.text, {})), [self._key])
            raise EndpointError(f"teacher.endpoints.0 ({self._endpoint.base_url}): {said}") from None
        except openai.APIConnectionError as error:
            raise Stopped(f"teacher.endpoints.0: no connection ({error.__cause__ or error}); run again") from None
        finally:
            client.close()

    def _client(self, endpoint: Endpoint) -> openai.OpenAI:
        import openai

        self._key = endpoint.secret(0).get_secret_value()
        transport = openai.DefaultHttpxClient(trust_env=not is_local(endpoint.base_url))
        return openai.OpenAI(
            base_url=endpoint.base_url, api_key=self._key or "none", max_retries=5, http_client=transport
        )

    def _submitted(self, client: openai.OpenAI, path: Path) -> Any:
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
            window: Any = self.settings.batch.completion_window
            batch = client.batches.create(
                input_file_id=upload.id, endpoint=URL, completion_window=window, metadata={MARK: mark}
            )
        write_json(state, {"batch": batch.id})
        return batch


def _counted(reply: Any) -> dict[str, int]:
    return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _progress(batch: Any) -> str:
    counts = batch.request_counts
    return f"{counts.completed:,} of {counts.total:,} done, {counts.failed:,} failed" if counts else "no counts yet"


def _reasons(batch: Any) -> str:
    found = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(f"{each.code}: {each.message}" for each in found[:3]) or "no reason given"
