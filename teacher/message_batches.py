"""Anthropic's Message Batches: requests in its own form, and its results as lines of OpenAI's output files.

For `teacher.sources.batch`. Source: https://platform.claude.com/docs/en/build-with-claude/batch-processing and the
types of Anthropic's Python client. A batch has no metadata, so that one whose submission was lost is known by its time,
its size and the ids in its results; while it is under way it is waited for, and nothing is submitted twice.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distill.answers import JsonObject, JsonValue
from distill.errors import DataError
from distill.records import Request
from distill.store import read_json, write_json
from teacher.batch_api import BatchApi, BatchState, known_batches, state_file

if TYPE_CHECKING:
    import openai
    from openai import RequestOptions

HOST: Final = "api.anthropic.com"
_PATH: Final = "/messages/batches"
_VERSION: Final = "2023-06-01"
_CLOCKS_DIFFER_S: Final = 3600.0
_STATUS: Final = {  # of an error's type: https://platform.claude.com/docs/en/api/errors
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip


class MessageBatches(BatchApi):
    """The Message Batches of one endpoint, whose `base_url` ends in /v1."""

    def line(self, request: Request) -> JsonObject:
        """`custom_id` and `params`. A temperature of 1 is Claude's own, and left out: models that think refuse it."""
        sampling = dict(request.sampling)
        if sampling.get("temperature") == 1:
            del sampling["temperature"]
        messages: JsonValue = [{**message} for message in request.messages]
        params: JsonObject = {"model": self._endpoint.model, "messages": messages, **sampling}
        return {"custom_id": request.request_id, "params": {**params, **self._endpoint.extra_body}}

    def _create(self, client: openai.OpenAI, path: Path) -> BatchState:
        with path.open("rb") as lines:
            requests = [json.loads(line) for line in lines]
        return _state(client.post(_PATH, body={"requests": requests}, options=_options(), cast_to=dict[str, Any]))

    def _found(self, client: openai.OpenAI, path: Path) -> BatchState | None:
        """Before the first submission this notes its time, and asks nothing."""
        state = read_json(state_file(path))
        if state is None:
            write_json(state_file(path), {"since": time.time()})
            return None
        with path.open("rb") as lines:
            ids = {str(json.loads(line)["custom_id"]) for line in lines}
        others, since = known_batches(path.parent), state["since"] - _CLOCKS_DIFFER_S
        listed = client.get(_PATH, options=_options() | {"params": {"limit": 1000}}, cast_to=dict[str, Any])
        for batch in listed.get("data") or ():
            created = datetime.fromisoformat(batch["created_at"]).timestamp()
            if created < since or batch["id"] in others or sum(batch["request_counts"].values()) != len(ids):
                continue
            found = self._ended(client, _state(batch))
            if any(_id_of(line) in ids for file in found.files for line in self._lines(client, file)):
                return found
        return None

    def _ended(self, client: openai.OpenAI, batch: BatchState) -> BatchState:
        """Wait until it can be seen whose batch it is."""
        while not batch.over:
            self._tell(f"batch {batch.id} may be ours: {batch.status}, {batch.progress}")
            time.sleep(self._settings.poll_s)
            batch = self._retrieve(client, batch.id)
        return batch

    def _retrieve(self, client: openai.OpenAI, batch_id: str) -> BatchState:
        return _state(client.get(f"{_PATH}/{batch_id}", options=_options(), cast_to=dict[str, Any]))

    def _text(self, client: openai.OpenAI, file: str) -> str:
        return "\n".join(_as_openai(line) for line in self._lines(client, file))

    def _lines(self, client: openai.OpenAI, file: str) -> list[str]:
        """The results' lines. `file` is a batch's id: its `results_url` may name a host that a gateway hides."""
        return client.get(f"{_PATH}/{file}/results", options=_options(), cast_to=str).split("\n")

    def _headers(self, key: str) -> dict[str, str]:
        return {"X-Api-Key": key, "anthropic-version": _VERSION}


def _options() -> RequestOptions:
    """Without the header by which OpenAI's client gives the key."""
    import openai

    return {"headers": {"Authorization": openai.Omit()}}


def _state(batch: JsonObject) -> BatchState:
    """A batch as it is. Raises DataError for what is none."""
    counts, status = batch.get("request_counts"), batch.get("processing_status")
    if not isinstance(counts, dict) or not isinstance(status, str) or not isinstance(batch.get("id"), str):
        raise DataError(f"teacher.endpoints.0: no message batch came, but {json.dumps(batch)[:200]}")
    batch_id, over = str(batch["id"]), status == "ended"
    progress = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return BatchState(batch_id, status, over, progress, (batch_id,) if over else ())


def _id_of(line: str) -> str | None:
    try:
        return str(json.loads(line)["custom_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _as_openai(line: str) -> str:
    """A line of the results as a line of OpenAI's files; what cannot be read stays as it is, and is counted there."""
    try:
        value = json.loads(line)
        request_id, result = value["custom_id"], value["result"]
        if result["type"] == "succeeded":
            outcome = {"response": {"status_code": 200, "body": as_completion(result["message"])}}
        elif result["type"] == "errored":
            error = result["error"]["error"]
            outcome = {"response": {"status_code": _STATUS.get(error["type"], 500), "body": {"error": error}}}
        else:
            outcome = {"error": {"code": result["type"], "message": f"the request is {result['type']}"}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return json.dumps({"custom_id": request_id, **outcome})


def as_completion(message: JsonObject) -> JsonObject:
    """A message of Anthropic's as a chat completion, whose content are its blocks: thinking and text."""
    choice = {"message": {"content": message["content"]}, "finish_reason": message["stop_reason"]}
    return {"model": message.get("model"), "choices": [choice], "usage": message.get("usage")}
