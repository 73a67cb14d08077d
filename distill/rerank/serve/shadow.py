"""A second student that judges a share of the traffic once it was answered, and only logs. For the routes.

It works while no request waits: a request that arrives stops it, and what it was at is begun again later. `shadow_log`
has the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time

from distill.errors import DistillError, InputError
from distill.records import Judgement, Pair
from distill.rerank.options import say
from distill.rerank.serve.answers import mode_of
from distill.rerank.serve.engine_thread import EngineThread
from distill.rerank.serve.judge import Judged, rows_of
from distill.rerank.serve.schemas import Asked
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.shadow_log import ShadowDocument, ShadowRow
from distill.rerank.serve.students import Served

LOOK_S = 0.01  # between two looks whether requests wait
TOGETHER = 8  # pairs that are judged without being logged: so much is lost when a request arrives


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered, and what its answer was made of."""

    asked: Asked
    found: Judged
    request_id: str


class Shadow:
    """The second student, the requests that wait for it, and its log; `counted` takes judged, dropped or failed."""

    def __init__(
        self,
        served: Served,
        settings: ServeSettings,
        log: Path,
        busy: Callable[[], bool],
        counted: Callable[[str], None],
    ) -> None:
        self.served, self._settings, self._log = served, settings, log
        self._busy, self._counted = busy, counted
        self._thread = EngineThread(served.engine, client_share=1)
        self._queue: asyncio.Queue[Answered] = asyncio.Queue(settings.shadow_waiting)
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    def start(self) -> None:
        """Start it, in the event loop."""
        self._thread.start()
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End it; what waits for it is not judged any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await asyncio.to_thread(self._thread.stop)
        self.served.close()

    async def offer(self, answered: Answered) -> None:
        """Take a request, or not: by the share, and where there is no room left it is dropped."""
        if random.random() >= self._settings.shadow_share:
            return
        try:
            self._queue.put_nowait(answered)
        except asyncio.QueueFull:
            self._counted("dropped")

    async def _work(self) -> None:
        while True:
            answered = await self._queue.get()
            try:
                rows = await rows_of(answered.asked, answered.asked.pairs(), self.served.cut)
                self._write(answered, rows, await self._judged(rows))
                self._counted("judged")
            except (DistillError, OSError) as error:
                self._counted("failed")
                if not self._failed:
                    say(f"shadow {self.served.name}: a request was not judged or logged ({error}); others are counted")
                self._failed = True

    async def _judged(self, rows: list[Pair]) -> list[Judgement]:
        """One judgement a pair, made while no request waits. Raises DistillError."""
        found: list[Judgement] = []
        together = len(rows) if self.served.mode == "adaptive" else TOGETHER
        while len(found) < len(rows):
            while self._busy():
                await asyncio.sleep(LOOK_S)
            task = asyncio.ensure_future(self._thread.judge(rows[len(found) : len(found) + together]))
            try:
                while not task.done() and not self._busy():
                    await asyncio.wait({task}, timeout=LOOK_S)
                if task.done():
                    found += task.result()
            finally:
                task.cancel()
        return found

    def _write(self, answered: Answered, rows: list[Pair], judgements: list[Judgement]) -> None:
        served, first = answered.found
        texts = self._settings.shadow_texts
        documents = [
            ShadowDocument(
                mode=mode_of(ours),
                score=ours.score,
                margin=ours.margin,
                shadow_mode=mode_of(theirs),
                shadow_score=theirs.score,
                shadow_margin=theirs.margin,
                query=pair.query if texts else None,
                text=pair.passage if texts else None,
            )
            for pair, ours, theirs in zip(rows, first, judgements, strict=True)
        ]
        row = ShadowRow(
            time=time(),
            request_id=answered.request_id,
            model=served.name,
            shadow=self.served.name,
            documents=documents,
        )
        with opened(self._log) as file:
            file.write(row.model_dump_json(exclude_none=True).encode() + b"\n")


def opened(log: Path) -> contextlib.AbstractContextManager[io.BufferedWriter]:
    """The log, to be written on at its end; only its owner may read it. Raises OSError."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def check_log(log: Path) -> None:
    """Raise InputError where the log cannot be written."""
    try:
        with opened(log):
            pass
    except OSError as error:
        raise InputError(f"--shadow-log {log}: cannot be written ({error.strerror}); name another file") from None
