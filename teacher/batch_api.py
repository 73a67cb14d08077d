"""OpenAI's Batch API: uploads a file of requests, waits, fetches the answers. For teacher.sources.batch."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from distill.errors import DistillError, EndpointError, Stopped
from distill.store import file_hash, read_json, write_json
from teacher.client import plain, secrets_of
from teacher.connection import trusted_certificates, trusts_proxy
from teacher.endpoint import Endpoint
from teacher.faults import Action, explained, from_exception, from_status, remedy_of, scrubbed
from teacher.source_settings import BatchSettings

if TYPE_CHECKING:
    import openai
    from openai.types import Batch as ApiBatch

URL: Final[Literal["/v1/chat/completions"]] = "/v1/chat/completions"
_OVER = ("completed", "failed", "expired", "cancelled")
_MARK = "rerank-distill"
_DEADLINE_S = 600.0  # openai's own
_LIMIT = re.compile(r"token_limit|limit (?:reached|exceeded)|too many|quota exceeded", re.I)


class BatchApi:
    """The Batch API of one endpoint. `tell` is called with how a batch goes."""

    def __init__(self, endpoint: Endpoint, settings: BatchSettings, tell: Callable[[str], None]) -> None:
        self._endpoint, self._settings, self._tell = endpoint, settings, tell
        self._key: str | None = None
        self._accepted = False  # whether the key has worked
        self.last_status = ""

    def answers(self, path: Path) -> dict[str, str]:
        """The text of the output and the error file of this file's batch, by their names; waits until it is over.

        Raises EndpointError or Stopped when the API or the batch is refused. A key of `api_key_command` that has worked
        and is refused is had again.
        """
        import openai

        client = self._client()
        try:
            batch = self._submitted(client, path)
            self._accepted = True
            while batch.status not in _OVER:
                self._tell(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
                time.sleep(self._settings.poll_s)
                batch = client.batches.retrieve(batch.id)
            self._tell(f"batch {batch.id}: {batch.status}, {_progress(batch)}")
            files = [file for file in (batch.output_file_id, batch.error_file_id) if file]
            if batch.status == "failed" and not files:
                raise self._batch_refused(path, batch)
            self.last_status = f"batch {batch.id} is {batch.status} without an answer to it"
            return {f"{path.name}'s answers ({file})": client.files.content(file).text for file in files}
        except (openai.APIStatusError, openai.APIConnectionError) as error:
            fault = from_exception(error, _DEADLINE_S, self._endpoint.host)
            if fault.kind == "unauthorized" and self._endpoint.api_key_command and self._accepted:
                self._key, self._accepted = None, False  # it has expired while the batch went on
                return self.answers(path)
            fault.message = scrubbed(fault.message, [self._key or "", *secrets_of(self._endpoint)])
            message = explained(fault, self._endpoint.model, self._endpoint.api_key_env or "")
            waits = fault.action in (Action.RETRY, Action.THROTTLED) or fault.kind == "no_credit"
            place = f"teacher.endpoints.0 ({self._endpoint.base_url}): "
            raise (Stopped(f"{place}{message}; run again") if waits else EndpointError(place + message)) from None
        finally:
            client.close()

    def _batch_refused(self, path: Path, batch: ApiBatch) -> DistillError:
        """The error for a batch that was refused as a whole. Its requests go into a new one in the next session."""
        reasons = _reasons(batch)
        message = f"teacher.endpoints.0: batch {batch.id} ({path}) was refused: {reasons}"
        if from_status(429, reasons, {}).kind == "no_credit":
            write_json(done_file(path), {"tried": False, "reason": reasons})
            return Stopped(f"{message}; {remedy_of('no_credit', self._endpoint.model)}")
        if _LIMIT.search(reasons):
            write_json(done_file(path), {"tried": False, "reason": reasons})
            return Stopped(f"{message}; run again when other batches are done, or lower teacher.batch.lines")
        write_json(done_file(path), {"tried": True, "reason": f"batch {batch.id} was refused: {reasons}"})
        return EndpointError(f"{message}; mend it and run again: its requests go into a new batch")

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
            default_headers=plain(self._endpoint.headers),
            default_query=plain(self._endpoint.query),
            max_retries=5,
            http_client=transport,
        )

    def _submitted(self, client: openai.OpenAI, path: Path) -> ApiBatch:
        """The batch of this file: known, found by its metadata, or made now."""
        state = path.with_name(path.name.replace(".in.", ".state."))
        known = read_json(state)
        if known:
            return client.batches.retrieve(known["batch"])
        mark = file_hash(path)
        others = {(read_json(path_of_state) or {}).get("batch") for path_of_state in path.parent.glob("*.state.jsonl")}
        for batch in islice(client.batches.list(limit=100), 200):
            if (batch.metadata or {}).get(_MARK) == mark and batch.id not in others:
                break
        else:
            with open(path, "rb") as source:
                upload = client.files.create(file=source, purpose="batch")
            batch = client.batches.create(
                input_file_id=upload.id,
                endpoint=URL,
                completion_window=cast(Literal["24h"], self._settings.completion_window),
                metadata={_MARK: mark},
            )
        write_json(state, {"batch": batch.id})
        return batch


def done_file(path: Path) -> Path:
    """Where it is written what became of a file of requests."""
    return path.with_name(path.name.replace(".in.", ".done."))


def _progress(batch: ApiBatch) -> str:
    counts = batch.request_counts
    return f"{counts.completed:,} of {counts.total:,} done, {counts.failed:,} failed" if counts else "no counts yet"


def _reasons(batch: ApiBatch) -> str:
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(f"{error.code}: {error.message}" for error in errors[:3]) or "no reason given"
