"""The transformers backend: CPU, MPS or GPU, batched with a KV cache, rows refilled as others end.

Readings are batched by like length. Rows that write are prefilled together as soon as a quarter of the batch is free,
and then decoded with those that run. All are padded on the right, where a causal model needs no mask. On a CPU the
tokens with which all rows of a batch begin (the instruction, and the query where it is the same) are read once.
A row is done one step after its `</think>`, where the log-probabilities of the verdicts are read. A row that does not
close its reasoning is closed by force on the cache that it has, so that no second pass is needed.
"""

from __future__ import annotations

import inspect
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from distill.rerank.backends.base import Backend, EngineSettings, Finish, Result, Task
from distill.rerank.backends.loading import load
from distill.rerank.repetition import repeats
from distill.rerank.student_format import StudentFormat

# So many tokens are read together at most, padding included: on a CPU what a layer makes of more leaves its caches.
PREFILL_TOKENS = {"cpu": 2_048, "cuda": 131_072, "mps": 16_384}
OF_A_QUERY = 8  # rows of one query are read without others from so many on
SHARED = 0.1  # of a batch's tokens; less is not worth a pass of its own
CLOSING = 16  # tokens at most that are fed one by one to close a reasoning by force; more are read as a prompt again
BATCH = {"cpu": 64, "cuda": 256, "mps": 64}
READINGS = 8  # prefills of readings in a row, at most, while rows that write wait for theirs or for a token


@dataclass(slots=True, eq=False)
class _Row:
    task: Task
    written: list[int] = field(default_factory=list)
    closing: bool = False  # `</think>` is fed in the next step
    draws: Any = None
    finish: Finish = "stop"
    closed: list[int] | None = None  # what was written, closed by force,
    forced: deque[int] = field(default_factory=deque)  # and what of it has still to be fed


class TransformersBackend(Backend):
    """A student's weights in this process. `batch` rows are decoded together."""

    name = "transformers"
    by_query = False  # rows of like length are worth more: nothing is shared

    @classmethod
    def start(cls, model: str, settings: EngineSettings) -> TransformersBackend:
        """The student in this process, on `device`."""
        return cls(model, settings.batch, settings.device, settings.prompt, dtype=settings.dtype)

    def __init__(
        self,
        model: str,
        batch: int | None = None,
        device: str | None = None,
        prompt: str | None = None,
        loaded: tuple[Any, StudentFormat] | None = None,
        dtype: str | None = None,
    ) -> None:
        self.model, self.form = loaded or load(model, device, prompt, dtype)
        self.device = self.model.device
        # transformers 5.24 renamed the argument, and warns of the old name
        accepted = inspect.signature(self.model.forward).parameters
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"
        self._early = self.form.early
        self.batch = batch or BATCH.get(self.device.type, 64)
        self._prefill_tokens = PREFILL_TOKENS.get(self.device.type, 16_384)
        self._waiting: deque[Task] = deque()
        self._rows: list[_Row] = []
        self._cache: Any = None
        self._next: list[int] = []
        self._readings = 0  # prefills of readings in a row

    @property
    def free(self) -> int:
        """Twice the batch, less what is there: the rows that run, and those that will take their places."""
        return 2 * self.batch - len(self._rows) - len(self._waiting)

    def add(self, task: Task) -> None:
        """Take a task in."""
        self._waiting.append(task)

    def drop(self, task: Task) -> None:
        """Forget a task, running or waiting."""
        import torch

        if task in self._waiting:
            self._waiting.remove(task)
        for slot, row in enumerate(self._rows):
            if row.task is task:
                with torch.inference_mode():  # the cache is of tensors that may be changed nowhere else
                    self._end(slot)
                return

    def step(self) -> list[tuple[Task, Result]]:
        """Readings first, then a prefill where enough of the batch is free, else a token of every row that runs."""
        import torch

        with torch.inference_mode():
            room = self.batch - len(self._rows)
            to_write = sum(task.max_new > 0 for task in self._waiting)
            reads = len(self._waiting) > to_write  # a reading needs no slot
            if reads and (self._readings < READINGS or not (self._rows or to_write)):
                self._readings += 1
                return self._prefill(room, reads)
            self._readings = 0
            if to_write and (not self._rows or room >= min(to_write, max(1, self.batch // 4))):
                return self._prefill(room, False)
            return self._decode() if self._rows else []

    def close(self) -> None:
        """Forget the weights and what runs."""
        self._waiting.clear()
        self._rows, self._cache, self._next = [], None, []
        self.model = None

    # --- a prefill ---------------------------------------------------------------------------------------------------

    def _prefill(self, room: int, reads: bool) -> list[tuple[Task, Result]]:
        """Readings, or rows that write: never both, since only the latter need a cache."""
        tasks = self._taken(room, reads)
        if reads:
            logits, _ = self._read(tasks, True)
            read = self._verdicts(logits, list(range(len(tasks))))
            return [(task, Result([], "read", values)) for task, values in zip(tasks, read, strict=True)]
        logits, cache = self._read(tasks, False)
        rows = [_Row(task, draws=self._generator(task)) for task in tasks]
        ended = []
        for at, (row, token) in enumerate(zip(rows, self._choose(logits, rows), strict=True)):
            result = self._write(row, token)
            if result is not None:
                ended.append((row.task, result))
                continue
            if self._cache is None:
                from distill.rerank.backends.slots import SlotCache

                self._cache = SlotCache(self.batch)
            self._cache.join(cache, at, len(row.task.ids))
            self._rows.append(row)
            self._next.append(token)
        return ended

    def _taken(self, room: int, reads: bool) -> list[Task]:
        """The task that has waited longest, of those that read or of those that write, and others of like length:
        within the tokens of one prefill, and, where they write, within the slots that are free."""
        like = [task for task in self._waiting if reads != (task.max_new > 0)]
        first = like[0]
        if reads and self.device.type == "cpu":
            of_query = [task for task in like if task.pair.query == first.pair.query]
            if len(of_query) >= OF_A_QUERY:
                like = of_query
        like.sort(key=lambda task: abs(len(task.ids) - len(first.ids)))
        most = 4 * self.batch if reads else min(4 * self.batch, room)
        tasks: list[Task] = []
        longest = 0
        for task in like[:most]:
            longest = max(longest, len(task.ids))
            if tasks and longest * (len(tasks) + 1) > self._prefill_tokens:
                break
            tasks.append(task)
        taken = set(tasks)
        self._waiting = deque(task for task in self._waiting if task not in taken)
        return tasks

    def _read(self, tasks: list[Task], verdicts: bool) -> tuple[Any, Any]:
        """(the logits after each task's ids, the cache of what was read); to read `verdicts` it may stay empty."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        shared = self._shared([task.ids for task in tasks])
        if shared:
            ids = torch.tensor([tasks[0].ids[:shared]], device=self.device)
            self.model.base_model(input_ids=ids, use_cache=True, **{self._cache_name: cache})
            cache.batch_repeat_interleave(len(tasks))
        cached = {self._cache_name: cache, "use_cache": True} if shared or not verdicts else {"use_cache": False}
        rows = [task.ids[shared:] for task in tasks]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
        last = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        return self._logits(last, verdicts, input_ids=ids, **cached), cache

    def _shared(self, rows: list[list[int]]) -> int:
        """How many tokens at the beginning of all rows are read once; 0 where that saves too little."""
        if self.device.type != "cpu" or len(rows) < 2:
            return 0
        first, last = min(rows), max(rows)  # what these two begin with, all do
        most = min(map(len, rows)) - 1  # each has a token of its own left, after which its logits are
        same = next((at for at in range(most) if first[at] != last[at]), most)
        return same if same * (len(rows) - 1) >= SHARED * sum(map(len, rows)) else 0

    def _logits(self, last: Any, exact: bool, **inputs: Any) -> Any:
        """The model's logits (rows, vocabulary) at the position `last` of each row; `exact` for reading verdicts."""
        from distill.rerank.backends.head import VerdictHead

        head = self.model.get_output_embeddings()
        self.model.set_output_embeddings(VerdictHead(head, last, self.form.verdicts if exact else ()))
        try:
            return self.model(**inputs).logits[:, -1]
        finally:
            self.model.set_output_embeddings(head)

    # --- a step ------------------------------------------------------------------------------------------------------

    def _decode(self) -> list[tuple[Task, Result]]:
        import torch

        mask, positions = self._cache.advance(self.device)
        closing = [slot for slot, row in enumerate(self._rows) if row.closing and not row.forced]
        logits = self._logits(
            torch.zeros(len(self._rows), dtype=torch.long, device=self.device),
            bool(closing),
            input_ids=torch.tensor(self._next, device=self.device)[:, None],
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self._cache_name: self._cache},
        )
        verdicts = dict(zip(closing, self._verdicts(logits, closing), strict=True))
        chosen = self._choose(logits, self._rows)
        found, ended = [], []
        for slot, row in enumerate(self._rows):
            if slot in verdicts:
                result: Result | None = Result(row.written, row.finish, verdicts[slot], row.closed)
            elif row.forced:
                self._next[slot], result = row.forced.popleft(), None
            else:
                result = self._write(row, chosen[slot])
                if result is None:
                    self._next[slot] = chosen[slot]
                elif self._closes(slot, row, result):
                    result = None
            if result is not None:
                found.append((row.task, result))
                ended.append(slot)
        for slot in reversed(ended):  # the last first: whatever moves into an empty slot goes on
            self._end(slot)
        return found

    def _write(self, row: _Row, token: int) -> Result | None:
        """Let the row write a token; a Result where it ends without one."""
        if token in self.form.stops:
            return Result(row.written, "no_end" if row.task.to_end else "stop")
        if len(row.written) >= row.task.max_new:
            return Result(row.written, "length")
        row.written.append(token)
        row.closing = row.task.to_end and self.form.ended(row.written)
        if row.task.loops == "stop" and not row.closing and repeats(row.written):
            return Result(row.written, "looped")
        return None

    def _closes(self, slot: int, row: _Row, result: Result) -> bool:
        """Whether a reasoning that did not end by itself is closed on its cache, which holds what is kept of it."""
        if not row.task.to_end or result.finish == "stop":
            return False
        closed = self.form.closed(row.written, len(row.task.ids))
        fed = self._cache.lengths[slot] - len(row.task.ids)
        same = 0
        while same < min(fed, len(closed) - 1) and closed[same] == row.written[same]:
            same += 1
        if len(closed) - same > CLOSING:
            return False
        self._cache.lengths[slot] = len(row.task.ids) + same
        row.forced, row.closed, row.finish, row.closing = deque(closed[same:]), closed, result.finish, True
        self._next[slot] = row.forced.popleft()
        return True

    def _end(self, slot: int) -> None:
        self._cache.remove(slot)
        last = len(self._rows) - 1
        self._rows[slot], self._next[slot] = self._rows[last], self._next[last]
        self._rows.pop()
        self._next.pop()

    def _verdicts(self, logits: Any, rows: list[int]) -> list[list[float]]:
        if not rows:
            return []
        found: list[list[float]] = logits[rows].float().log_softmax(-1)[:, list(self.form.verdicts)].tolist()
        return found

    def _choose(self, logits: Any, rows: list[_Row]) -> list[int]:
        """The next token of each row: the likeliest, or one drawn."""
        import torch

        early = [at for at, row in enumerate(rows) if len(row.written) < row.task.min_new]
        if early:
            logits = logits.clone()
            logits[torch.tensor(early, device=logits.device)[:, None], self._early] = -torch.inf
        chosen: list[int] = logits.max(-1).indices.tolist()  # on a CPU five times as fast as argmax
        for at, row in enumerate(rows):
            if row.draws is not None:
                likely = (logits[at].float() / row.task.temperature).softmax(-1).cpu()
                chosen[at] = int(torch.multinomial(likely, 1, generator=row.draws))
        return chosen

    def _generator(self, task: Task) -> Any:
        import torch

        return torch.Generator().manual_seed(task.seed) if task.temperature > 0 and task.max_new else None
