"""The journal of what was paid for: one JSON line an entry, appended by one writer and never deleted. For the session.

`encode` and `decode` are the one place that knows a line's form: an answer (`id`, the answer's fields), or a bill
(`bill`, the request's id, tokens and dollars) for something that was billed and could not be used. Each session begins
a part of its own, so that a line torn by a kill is the last of its part; it does not parse, and is dropped when read.
On a URL (object storage) a part is one immutable object a flush.

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
from distill.records import Answer, JournalEntry
from distill.store import filesystem, is_local

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
    line["prompt_tokens"] = answer.prompt_tokens
    line["completion_tokens"] = answer.completion_tokens
    line["cost_usd"] = answer.cost_usd
    line["estimated"] = answer.estimated
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
    )
    bill = line.get("kind", "bill") if "bill" in line else None
    stage, purpose = line.get("stage", "trace"), line.get("purpose", "trace")
    return JournalEntry(answer, bill, stage, purpose, line.get("attempts", 1), line.get("time"))


class Journal:
    """The one writer. Not for two processes: the run folder's lease keeps the second one out.

    `scratch` is a local folder in which the parts of a URL are mirrored, so that single lines can be read back.
    """

    def __init__(self, folder: str | Path, scratch: Path) -> None:
        self.folder = str(folder)
        self._fs, self._inner = filesystem(folder)
        self._local = is_local(self._fs)
        self._home = Path(self._inner) if self._local else scratch
        self._home.mkdir(parents=True, exist_ok=True)
        if not self._local:
            self._mirror()
        self.parts = sorted(path.name for path in self._home.glob("*.jsonl"))
        self._number = int(self.parts[-1].split(".")[0]) if self.parts else 0
        self._file: BinaryIO | None = None
        self._size, self._synced, self._unsynced = 0, time.monotonic(), False
        self._open: dict[str, BinaryIO] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._syncing: Future[None] | None = None

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
        if self._file is None or self._size > PART_BYTES:
            self._next_part()
        assert self._file is not None
        places = []
        for line in lines:
            places.append(Place(self.parts[-1], self._size, len(line) + 1))
            self._size += len(line) + 1
        block = memoryview(b"\n".join(lines) + b"\n")
        while block:
            block = block[self._file.write(block) :]
        self._unsynced = True
        return places

    def tick(self, force: bool = False) -> None:
        """Begin to force what was appended to the disk, when `SYNC_S` have passed since the last time.

        A thread does it, so that a slow disk does not hold up the answers; `force` waits for it. An error of the disk
        is raised here, at the next call at the latest.
        """
        if self._syncing is not None and (force or self._syncing.done()):
            self._syncing.result()
            self._syncing = None
        if self._file is None or not self._unsynced or self._syncing is not None:
            return
        if not force and time.monotonic() - self._synced < SYNC_S:
            return
        if self._local:
            self._syncing = self._thread.submit(os.fsync, self._file.fileno())
        else:
            name = self.parts[-1]
            self._end_part()
            self._syncing = self._thread.submit(self._fs.put_file, str(self._home / name), f"{self._inner}/{name}")
        self._unsynced, self._synced = False, time.monotonic()
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
        """Force everything to the disk and let go."""
        self.tick(force=True)
        self._end_part()
        self._thread.shutdown()
        for handle in self._open.values():
            handle.close()
        self._open.clear()

    def _next_part(self) -> None:
        if self._file is not None:
            self.tick(force=True)
            self._end_part()
        self._number += 1
        self.parts.append(f"{self._number:08d}.jsonl")
        self._file, self._size = open(self._home / self.parts[-1], "xb", buffering=0), 0
        if self._local:  # the part's name must survive a power cut too
            folder = os.open(self._home, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _mirror(self) -> None:
        self._fs.makedirs(self._inner, exist_ok=True)
        self._fs.invalidate_cache()
        there = {path.rsplit("/", 1)[-1]: path for path in self._fs.ls(self._inner, detail=False)}
        for path in self._home.glob("*.jsonl"):  # a killed session's last part, written here and not yet there
            if path.name not in there:
                self._fs.put_file(str(path), f"{self._inner}/{path.name}")
        for name, path in there.items():
            if name.endswith(".jsonl"):
                self._fs.get_file(path, str(self._home / name))
