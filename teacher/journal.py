"""The journal of what was paid for: one JSON line an entry, appended by one writer and never deleted. For the session.

`encode` and `decode` are the one place that knows a line's form: an answer (`id`, the answer's fields), or a bill
(`bill`, the request's id, tokens and dollars) for something that was billed and could not be used. Each session begins
a part of its own, so that a line torn by a kill is the last of its part; it does not parse, and is dropped when read.
On a URL (object storage) a part is an object for each flush until it is done, then one (`teacher.journal_objects`).

Guarantee: `append` hands the bytes to the operating system before it returns, so a killed process loses none; `tick`
forces them to the disk at most `SYNC_S` later, so a power cut costs less than a second. On a URL both happen at the
flush, so there a lost machine costs what a power cut costs.
Not covered: a disk that lies about fsync, and a part edited by hand.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from distill.answers import JsonObject
from distill.answers.finish import finish_of
from distill.answers.logprobs import WordLogprobs
from distill.records import Answer, JournalEntry
from distill.urls import is_url
from teacher.journal_objects import JournalObjects

SYNC_S = 0.5
PART_BYTES = 256 << 20
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # json.dumps would make one for each line


class Place(NamedTuple):
    """Where a line is: its part's name, and in it the first byte and the number of bytes, newline included."""

    part: str
    offset: int
    length: int


def encode(entry: JournalEntry) -> bytes:
    """An entry as its line, without the newline."""
    answer = entry.answer
    line: JsonObject
    if entry.bill is not None:
        line = {"bill": answer.request_id, "kind": entry.bill}
    elif answer.error is not None:
        line = {"id": answer.request_id, "error": answer.error}
    else:
        line = {
            "id": answer.request_id,
            "reasoning": answer.reasoning,
            "content": answer.content,
            "finish_reason": answer.finish_reason,
            "latency_s": round(answer.latency_s, 3),
        }
        if answer.words is not None:
            line["words"] = [[word.at, word.token, word.logprob, {**word.top}] for word in answer.words]
    line["prompt_tokens"] = answer.prompt_tokens
    line["completion_tokens"] = answer.completion_tokens
    for name, tokens in (("cached_tokens", answer.cached_tokens), ("reasoning_tokens", answer.reasoning_tokens)):
        if tokens:
            line[name] = tokens
    line["cost_usd"] = answer.cost_usd
    line["estimated"] = answer.estimated
    if answer.unpriced:
        line["unpriced"] = True
    if entry.bill is None:
        line["attempts"] = entry.attempts
        line["model"], line["host"], line["sampling"] = answer.model, answer.host, answer.sampling or None
        if answer.unknown_finish is not None:
            line["unknown_finish"] = answer.unknown_finish
        if entry.purpose != "trace":
            line["purpose"] = entry.purpose
    if entry.stage != "trace":
        line["stage"] = entry.stage
    if entry.time is not None:
        line["time"] = round(entry.time, 3)
    if entry.earlier:
        line["earlier"] = True
    return _JSON.encode(line).encode("utf-8", "surrogatepass")


def decode(raw: bytes) -> JournalEntry | None:
    """The entry of a line, None for a torn or damaged one. What older journals lack has its default."""
    try:
        line = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(line, dict) or not ("id" in line or "bill" in line):
        return None
    error = line.get("error")
    word = line.get("finish_reason", "stop" if error is None else "error")
    finish, unknown = ("stop", None) if word == "stop" else finish_of(word)
    answer = Answer(
        line["bill"] if "bill" in line else line["id"],
        line.get("reasoning", ""),
        line.get("content", ""),
        finish,
        line.get("prompt_tokens", 0),
        line.get("completion_tokens", 0),
        line.get("cost_usd", 0.0),
        line.get("latency_s", 0.0),
        line.get("model"),
        line.get("host"),
        line.get("sampling") or {},
        error,
        line.get("estimated", False),
        line.get("unknown_finish", unknown),
        line.get("cached_tokens", 0),
        line.get("reasoning_tokens", 0),
        line.get("unpriced", False),
        None if (words := line.get("words")) is None else [WordLogprobs(*word) for word in words],
    )
    bill = line.get("kind", "bill") if "bill" in line else None
    stage, purpose = line.get("stage", "trace"), line.get("purpose", "trace")
    attempts, earlier = line.get("attempts", 1), bool(line.get("earlier"))
    return JournalEntry(answer, bill, stage, purpose, attempts, line.get("time"), earlier)


class Journal:
    """The one writer. Not for two processes: the session's lease keeps the second one out.

    `scratch` is a local folder in which the parts of a URL are mirrored, so that single lines can be read back.
    `writes` is False where the journal is only looked at: nothing is changed then, and no lease is needed.
    """

    def __init__(self, folder: str | Path, scratch: Path, *, writes: bool = True) -> None:
        self.folder = str(folder)
        self._home = scratch if is_url(self.folder) else Path(folder)
        self._objects = JournalObjects(self.folder, self._home) if is_url(self.folder) else None
        self._home.mkdir(parents=True, exist_ok=True)
        if self._objects:
            self._objects.fetch(join=writes)
        self.parts = sorted(path.name for path in self._home.glob("*.jsonl"))
        self._number = int(self.parts[-1][:8]) if self.parts else 0
        self._file: BinaryIO | None = None
        self._size, self._flushed, self._synced = 0, 0, time.monotonic()
        self._open: dict[str, BinaryIO] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._syncing: Future[None] | None = None
        self._joiner = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._joining: list[Future[None]] = []

    def entries(self, part: str) -> Iterator[tuple[Place, JournalEntry]]:
        """Every whole entry of a part with its place; torn or damaged lines are left out."""
        offset = 0
        with open(self._home / part, "rb") as source:
            for raw in source:
                entry = decode(raw)
                if entry is not None:
                    yield Place(part, offset, len(raw)), entry
                offset += len(raw)

    def append(self, lines: Sequence[bytes]) -> list[Place]:
        """Write lines (as `encode` makes them, without a newline); returns the place of each."""
        if self._file is None or self._is_full():
            self._next_part()
        assert self._file is not None
        places = []
        for line in lines:
            places.append(Place(self.parts[-1], self._size, len(line) + 1))
            self._size += len(line) + 1
        block = memoryview(b"\n".join(lines) + b"\n")
        while block:
            block = block[self._file.write(block) :]
        return places

    def tick(self, force: bool = False) -> None:
        """Begin to force what was appended to the disk, when `SYNC_S` have passed since the last time.

        A thread does it, so that a slow disk does not hold up the answers; `force` waits for it. An error of the disk
        is raised here, at the next call at the latest.
        """
        if self._syncing is not None and (force or self._syncing.done()):
            self._syncing.result()
            self._syncing = None
        while self._joining and self._joining[0].done():
            self._joining.pop(0).result()
        if self._file is None or self._flushed == self._size or self._syncing is not None:
            return
        if not force and time.monotonic() - self._synced < SYNC_S:
            return
        if self._objects:
            self._syncing = self._thread.submit(self._objects.flush, self.parts[-1], self._flushed, self._size)
        else:
            self._syncing = self._thread.submit(os.fsync, self._file.fileno())
        self._flushed, self._synced = self._size, time.monotonic()
        if force:
            self._syncing.result()
            self._syncing = None

    def read(self, place: Place) -> JournalEntry:
        """One entry by its place."""
        part, offset, length = place
        if part not in self._open:
            self._open[part] = open(self._home / part, "rb", buffering=0)
        entry = decode(os.pread(self._open[part].fileno(), length, offset))
        assert entry is not None, f"{part} at {offset}: changed under the index"
        return entry

    def close(self) -> None:
        """Force everything to the disk and let go; on a URL the last part becomes one object."""
        try:
            self.tick(force=True)
            self._end_part()
            for joining in self._joining:
                joining.result()
        finally:
            self._joiner.shutdown()
            self._thread.shutdown()
            for handle in self._open.values():
                handle.close()
            self._open.clear()

    def _is_full(self) -> bool:
        if self._objects:
            return self._objects.is_full(self.parts[-1], self._size)
        return self._size > PART_BYTES

    def _next_part(self) -> None:
        if self._file is not None:
            self.tick(force=True)
            self._end_part()
        self._number += 1
        self.parts.append(self._objects.name(self._number) if self._objects else f"{self._number:08d}.jsonl")
        self._file, self._size = open(self._home / self.parts[-1], "xb", buffering=0), 0
        self._flushed = 0
        if not self._objects:  # the part's name must survive a power cut too
            folder = os.open(self._home, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _end_part(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if self._objects:
            self._joining.append(self._joiner.submit(self._objects.join, self.parts[-1]))
