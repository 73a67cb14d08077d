"""A batch API of one endpoint: submits a file of requests, waits, fetches the answers. For `teacher.sources.batch`.

`BatchApi` holds what is alike: a batch that was submitted is found again and not submitted twice, also where the answer
to its submission was lost; a key that expires meanwhile is renewed. OpenAI's protocol is here, Anthropic's in
`teacher.message_batches`. Every protocol's answers are handed over as lines of OpenAI's output files.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from distill.answers import JsonObject
from distill.errors import ConfigError, DistillError, EndpointError, Stopped
from distill.records import Request
from distill.store import file_hash, read_json, write_json
from teacher.client import plain, secrets_of
from teacher.connection import trusted_certificates, trusts_proxy
from teacher.endpoint import Endpoint
from teacher.faults import Action, Fault, explained, from_exception, from_status, remedy_of, scrubbed
from teacher.source_settings import BatchSettings

if TYPE_CHECKING:
    import openai
    from openai.types import Batch as OpenAIBatch

URL: Final[Literal["/v1/chat/completions"]] = "/v1/chat/completions"
_MARK = "rerank-distill"
_DEADLINE_S = 600.0  # openai's own
_LIMIT = re.compile(r"token_limit|limit (?:reached|exceeded)|too many|quota exceeded", re.I)
SUBMISSIONS, LONGEST_PAUSE_S = 5, 5.0


@dataclass(frozen=True, slots=True)
class BatchState:
    """Where a batch has got to. `files` are where its answers are, once it is `over`; `refused` is why it is refused as
    a whole."""

    id: str
    status: str
    over: bool
    progress: str
    files: tuple[str, ...] = ()
    refused: str | None = None


class BatchApi(ABC):
    """The batch API of one endpoint. `tell` is called with how a batch goes."""

    def __init__(self, endpoint: Endpoint, settings: BatchSettings, tell: Callable[[str], None]) -> None:
        self._endpoint, self._settings, self._tell = endpoint, settings, tell
        self._key: str | None = None
        self._accepted = False  # whether the key has worked
        self._worked = False  # whether any has
        self.last_status = ""

    @abstractmethod
    def line(self, request: Request) -> JsonObject:
        """A request as a line of the file that is kept and submitted; its `custom_id` is the request's id."""

    @abstractmethod
    def _create(self, client: openai.OpenAI, path: Path) -> BatchState:
        """Submit a file. Called with a client that tries once."""

    @abstractmethod
    def _found(self, client: openai.OpenAI, path: Path) -> BatchState | None:
        """The batch of a file whose submission may have been lost, among those that the host has; else None."""

    @abstractmethod
    def _retrieve(self, client: openai.OpenAI, batch_id: str) -> BatchState:
        """How a batch is now."""

    @abstractmethod
    def _text(self, client: openai.OpenAI, file: str) -> str:
        """The lines of one of its files."""

    def answers(self, path: Path) -> dict[str, str]:
        """The text of the files of answers to this file's batch, by their names; waits until it is over.

        Raises EndpointError or Stopped when the API or the batch is refused. A key of `api_key_command` that has worked
        and is refused is had again.
        """
        import openai

        while True:
            client = self._client()
            try:
                return self._waited_for(client, path)
            except (openai.APIStatusError, openai.APIConnectionError) as error:
                fault = from_exception(error, _DEADLINE_S, self._endpoint.host)
                if fault.kind == "unauthorized" and self._endpoint.api_key_command and self._accepted:
                    self._renew()  # it has expired while the batch went on
                    continue
                raise self._failed(fault) from None
            finally:
                client.close()

    def _waited_for(self, client: openai.OpenAI, path: Path) -> dict[str, str]:
        batch = self._submitted(client, path)
        while True:
            self._accepted = self._worked = True
            self._tell(f"batch {batch.id}: {batch.status}, {batch.progress}")
            if batch.over:
                break
            time.sleep(self._settings.poll_s)
            batch = self._retrieve(client, batch.id)
        if batch.refused is not None:
            raise self._batch_refused(path, batch)
        self.last_status = f"batch {batch.id} is {batch.status} without an answer to it"
        return {f"{path.name}'s answers ({file})": self._text(client, file) for file in batch.files}

    def _submitted(self, client: openai.OpenAI, path: Path) -> BatchState:
        """The batch of this file: known, found at the host, or made now. A submission whose answer was lost is looked
        for before the next."""
        import openai

        state = state_file(path)
        if batch_id := (read_json(state) or {}).get("batch"):
            return self._retrieve(client, batch_id)
        left = SUBMISSIONS
        while (batch := self._found(client, path)) is None:
            try:
                batch = self._create(client.with_options(max_retries=0), path)
                break
            except (openai.APIStatusError, openai.APIConnectionError) as error:
                left -= 1
                action = from_exception(error, _DEADLINE_S, self._endpoint.host).action
                if not left or action not in (Action.RETRY, Action.THROTTLED):
                    raise
                time.sleep(min(self._settings.poll_s, LONGEST_PAUSE_S))
        write_json(state, {**(read_json(state) or {}), "batch": batch.id})
        return batch

    def _failed(self, fault: Fault) -> DistillError:
        fault.message = scrubbed(fault.message, [self._key or "", *secrets_of(self._endpoint)])
        name = self._endpoint.api_key_env or self._endpoint.api_key_command or ""
        message = explained(fault, self._endpoint.model, name)
        if fault.message.startswith("HTTP 413"):
            message = f"{fault}; lower teacher.batch.lines"
        waits = fault.action in (Action.RETRY, Action.THROTTLED) or fault.kind == "no_credit"
        place = f"teacher.endpoints.0 ({self._endpoint.base_url}): "
        if waits or (fault.kind == "unauthorized" and self._worked):
            return Stopped(f"{place}{message}; nothing is lost, run again")
        return EndpointError(place + message)

    def _batch_refused(self, path: Path, batch: BatchState) -> DistillError:
        """The error for a batch that was refused as a whole. Its requests go into a new one in the next session."""
        message = f"teacher.endpoints.0: batch {batch.id} ({path}) was refused: {batch.refused}"
        if from_status(429, batch.refused or "", {}).kind == "no_credit":
            write_json(done_file(path), {"tried": False, "reason": batch.refused})
            return Stopped(f"{message}; {remedy_of('no_credit', self._endpoint.model)}")
        if _LIMIT.search(batch.refused or ""):
            write_json(done_file(path), {"tried": False, "reason": batch.refused})
            return Stopped(f"{message}; run again when other batches are done, or lower teacher.batch.lines")
        write_json(done_file(path), {"tried": True, "reason": f"batch {batch.id} was refused: {batch.refused}"})
        return EndpointError(f"{message}; mend it and run again: its requests go into a new batch")

    def _renew(self) -> None:
        """Another key. Raises Stopped where there is none to be had: the batch goes on, and is found again."""
        refused, place = self._key, "teacher.endpoints.0.api_key_command"
        try:
            self._key, self._accepted = self._endpoint.secret(0).get_secret_value(), False
            if self._key == refused:
                raise ConfigError(f"{place}: gives the same key again, which is refused")
        except ConfigError as error:
            raise Stopped(f"{error}; the batch goes on and nothing is lost: mend it and run again") from None

    def _client(self) -> openai.OpenAI:
        import openai

        self._endpoint = self._endpoint.with_secrets(0)
        if self._key is None:
            self._key = self._endpoint.secret(0).get_secret_value()
        transport = openai.DefaultHttpxClient(
            trust_env=trusts_proxy(self._endpoint.base_url), verify=trusted_certificates()
        )
        return openai.OpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._key or "none",
            default_headers={**self._headers(self._key), **plain(self._endpoint.headers)},
            default_query=plain(self._endpoint.query),
            max_retries=5,
            http_client=transport,
        )

    def _headers(self, key: str) -> dict[str, str]:
        """Headers that the protocol has in addition to those of OpenAI's client."""
        return {}


class OpenAIBatches(BatchApi):
    """OpenAI's Batch API: a file is uploaded, and its batch bears the file's hash among its metadata."""

    def line(self, request: Request) -> JsonObject:
        """As the file's lines are: method, URL and body."""
        return openai_line(request, self._endpoint.body(request.messages, request.sampling))

    def _create(self, client: openai.OpenAI, path: Path) -> BatchState:
        with open(path, "rb") as source:
            upload = client.files.create(file=source, purpose="batch")
        batch = client.batches.create(
            input_file_id=upload.id,
            endpoint=URL,
            completion_window=cast(Literal["24h"], self._settings.completion_window),
            metadata={_MARK: file_hash(path)},
        )
        return _state(batch)

    def _found(self, client: openai.OpenAI, path: Path) -> BatchState | None:
        mark, others = file_hash(path), known_batches(path.parent)
        for batch in islice(client.batches.list(limit=100), 200):
            if (batch.metadata or {}).get(_MARK) == mark and batch.id not in others:
                return _state(batch)
        return None

    def _retrieve(self, client: openai.OpenAI, batch_id: str) -> BatchState:
        return _state(client.batches.retrieve(batch_id))

    def _text(self, client: openai.OpenAI, file: str) -> str:
        return client.files.content(file).text


def openai_line(request: Request, body: JsonObject) -> JsonObject:
    """A request as a line of OpenAI's batch files, which `vllm run-batch` reads as well; nothing in one is streamed."""
    whole = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    return {"custom_id": request.request_id, "method": "POST", "url": URL, "body": whole}


def done_file(path: Path) -> Path:
    """Where it is written what became of a file of requests."""
    return path.with_name(path.name.replace(".in.", ".done."))


def state_file(path: Path) -> Path:
    """Where it is written which batch a file of requests is."""
    return path.with_name(path.name.replace(".in.", ".state."))


def known_batches(folder: Path) -> set[str]:
    """The batches that the files of a folder are known to be."""
    states = (read_json(path) or {} for path in folder.glob("*.state.jsonl"))
    return {state["batch"] for state in states if "batch" in state}


def _state(batch: OpenAIBatch) -> BatchState:
    counts = batch.request_counts
    progress = f"{counts.completed:,} of {counts.total:,} done, {counts.failed:,} failed" if counts else "no counts yet"
    files = tuple(file for file in (batch.output_file_id, batch.error_file_id) if file)
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    reasons = "; ".join(f"{error.code}: {error.message}" for error in errors[:3]) or "no reason given"
    over = batch.status in ("completed", "failed", "expired", "cancelled")
    refused = reasons if batch.status == "failed" and not files else None
    return BatchState(batch.id, batch.status, over, progress, files, refused)
