"""Judgements that are kept as they are made, so that none is made twice. Used by the scorer.

One JSON line a judgement: `student` (`Student.identity`), `pair_id`, `seconds` of compute, and the judgement's fields;
or `failed`, why the student cannot read the pair's query. A first line `{"journal": KEY}` names the student of the
lines that name none, which `distill rerank` wrote of old, without `pair_id`.

A line is with the operating system before `append` returns, so a kill costs what is in flight; it is on the disk at
most `SYNC_S` later. A line torn by a kill is ended when the file is opened again, and passed over. One process writes:
the file is locked while it is open. Where the lines are is kept on disk, so that memory does not grow with them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from distill.errors import RunFolderError
from distill.files.sorted_runs import database
from distill.records import Judgement, as_dict

SYNC_S = 1.0
FIELDS = tuple(f.name for f in fields(Judgement))
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
UNKNOWN = {"query_id": "", "doc_id": "", "reasoning": "", "mode": "", "tokens": 0, "finish_reason": "stop"}
Line = dict[str, str | int | float | None]


class Journal:
    """The file at `path`, made at the first line.

    `head` is written as its first line, where it has one; a file of another is refused (RunFolderError).
    `aliases` are {an identity of older lines: the student's now}. Without `reasoning` texts are not kept.
    What is not here is looked for in `older`.
    """

    def __init__(
        self,
        path: Path,
        head: str | None = None,
        also: Collection[str] = (),
        aliases: Mapping[str, str] | None = None,
        reasoning: bool = True,
        older: Journal | None = None,
    ) -> None:
        self.path, self.head, self.reasoning, self.older = path, head, reasoning, older
        self._heads = {head, *also} if head else set()
        self._aliases = dict(aliases or {})
        self._places = database(
            "CREATE TABLE places (key BLOB PRIMARY KEY, start INTEGER, length INTEGER) WITHOUT ROWID"
        )
        self._file: BinaryIO | None = None
        self._synced, self._dirty = time.monotonic(), False
        if path.exists():
            self._open()

    def find(self, student: str, *names: str) -> tuple[Judgement | str, float] | None:
        """(a judgement, or why there is none; its seconds) under one of a pair's names, None where there is neither."""
        for name in names:
            place = self._places.execute("SELECT start, length FROM places WHERE key = ?", (_key(student, name),))
            if found := place.fetchone():
                assert self._file is not None
                line = json.loads(os.pread(self._file.fileno(), found[1], found[0]))
                failed = line.get("failed")
                return failed or Judgement(**{**UNKNOWN, **{k: line[k] for k in FIELDS if k in line}}), line.get(
                    "seconds", 0.0
                )
        return self.older.find(student, *names) if self.older else None

    def append(self, student: str, name: str, judgement: Judgement | str, seconds: float = 0.0) -> None:
        """Keep a judgement, or why there is none, under the pair's name."""
        if self._file is None:
            self._open()
        assert self._file is not None
        line: Line = {"student": student, "pair_id": name, "seconds": round(seconds, 7)}
        if isinstance(judgement, str):
            line["failed"] = judgement
        else:
            line |= as_dict(judgement) if self.reasoning else {**as_dict(judgement), "reasoning": ""}
        self._put(student, name, *self._write(line))
        if time.monotonic() - self._synced > SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._file is not None and self._dirty:
            os.fsync(self._file.fileno())
        self._synced, self._dirty = time.monotonic(), False

    def close(self) -> None:
        """Force everything to the disk and let go."""
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Delete the file: what it held is elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        """Lock the file, take in the lines that it has, and write the first one where it has none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(f"{self.path}: in use by another process; wait for it, or end it") from None
        named: str | None = None
        end, whole = 0, True
        with open(self.path, "rb") as lines:
            for raw in lines:
                start, end, whole = end, end + len(raw), raw.endswith(b"\n")
                line = _parsed(raw) if whole else None
                if line is not None and "journal" in line:
                    named = str(line["journal"])
                elif line is not None:
                    self._index(line, named, start, len(raw))
                if start == 0 and self.head and named not in self._heads:
                    self.close()
                    raise RunFolderError(
                        f"{self.path}: of another model, mode, backend, data or setting; finish that run with its own "
                        "arguments, remove the file, or choose another --out"
                    )
        if not whole:  # torn by a kill: the next line is one of its own
            self._file.write(b"\n")
        if end == 0 and self.head:
            self._write({"journal": self.head})

    def _index(self, line: Line, named: str | None, start: int, length: int) -> None:
        student = str(line.get("student") or named)
        if self.head is not None and student in self._heads:
            student = self.head
        name = line.get("pair_id") or old_name(line.get("query_id"), line.get("doc_id"))
        if "failed" in line or {"score", "margin", "verdict"} <= line.keys():
            self._put(self._aliases.get(student, student), str(name), start, length)

    def _put(self, student: str, name: str, start: int, length: int) -> None:
        self._places.execute("REPLACE INTO places VALUES (?, ?, ?)", (_key(student, name), start, length))

    def _write(self, line: Line) -> tuple[int, int]:
        """(first byte, length) of the line, written."""
        assert self._file is not None
        raw = _JSON.encode(line).encode("utf-8", "surrogatepass") + b"\n"
        start = os.fstat(self._file.fileno()).st_size
        block = memoryview(raw)
        while block:
            block = block[self._file.write(block) :]
        self._dirty = True
        return start, len(raw)


def old_name(query_id: object, doc_id: object) -> str:
    """How a pair is named whose line has no `pair_id`."""
    return f"{query_id}\t{doc_id}"


def _key(student: str, name: str) -> bytes:
    return blake2b(f"{student}\n{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _parsed(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
