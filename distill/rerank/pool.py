"""Many pairs, several students, on every core: worker processes of one thread each on a CPU, one process on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import InputError
from distill.processes import cores, die_with_parent
from distill.records import Judgement, Pair
from distill.weights import check_files

CHUNK = 256
_loaded: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Task:
    """Judge `pairs` with the student at `model`, in `mode` (budget as `budget:N`), for the report's system `name`.

    `prompt` is for a model whose folder does not name its own.
    """

    name: str
    model: str
    mode: str
    pairs: Sequence[Pair]
    prompt: str | None = None


def judge(
    tasks: Sequence[Task], notify: Callable[[dict[str, Any]], None], batch: int = 128, max_new_tokens: int = 8192
) -> Iterator[tuple[str, list[Judgement | None], float]]:
    """(system, judgements in the order of its pairs, seconds of compute) for each task, as each is complete.

    A pair whose query the student cannot read (`Reranker.overlong`) has None. All students' folders are looked at
    before the first pair is judged. Raises InputError for one that cannot judge, or that can read no query.

    Several processes, since one thread a process uses small models' cores better than two threads in one.
    """
    import multiprocessing
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

    import torch

    for model in {task.model for task in tasks}:
        check_files(model)
    workers = 1 if torch.cuda.is_available() else cores()
    chunks: list[tuple[int, list[int]]] = []
    for at, task in enumerate(tasks):
        chunks += [(at, rows) for rows in _chunks(task)]
    found: list[list[Judgement | None]] = [[None] * len(task.pairs) for task in tasks]
    left = [sum(1 for at, _ in chunks if at == i) for i in range(len(tasks))]
    seconds, ready = [0.0] * len(tasks), [0] * len(tasks)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(1, len(chunks))), context, _start, (max(1, cores() // workers),)) as pool:
        running: dict[Future[Any], tuple[int, list[int]]] = {}
        for at, rows in chunks:
            task = tasks[at]
            arguments = (task.model, task.mode, [task.pairs[i] for i in rows], batch, max_new_tokens, task.prompt)
            running[pool.submit(_chunk, *arguments)] = (at, rows)
        try:
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    at, rows = running.pop(future)
                    judgements, took = future.result()
                    seconds[at] += took
                    for i, judgement in zip(rows, judgements, strict=True):
                        found[at][i] = judgement
                    left[at] -= 1
                    ready[at] += len(rows)
                    notify(
                        {"stage": "evaluation", "system": tasks[at].name, "done": ready[at], "of": len(tasks[at].pairs)}
                    )
                    if left[at] == 0:
                        if found[at] and not any(found[at]):
                            raise InputError(f"{tasks[at].model}: every query is too long for this student's context")
                        yield tasks[at].name, found[at], seconds[at]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _chunks(task: Task) -> list[list[int]]:
    """Pairs that go to a process together: of like length, or (adaptive looks at them together) whole queries."""
    if task.mode != "adaptive":
        order = sorted(range(len(task.pairs)), key=lambda i: len(task.pairs[i].passage) + len(task.pairs[i].query))
        return [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    by_query: dict[str, list[int]] = {}
    for at, pair in enumerate(task.pairs):
        by_query.setdefault(pair.query_id, []).append(at)
    chunks: list[list[int]] = [[]]
    for rows in by_query.values():
        if len(chunks[-1]) + len(rows) > CHUNK and chunks[-1]:
            chunks.append([])
        chunks[-1] += rows
    return chunks


def _start(threads: int) -> None:
    die_with_parent()
    import torch

    torch.set_num_threads(threads)


def _chunk(
    model: str, mode: str, pairs: list[Pair], batch: int, max_new_tokens: int, prompt: str | None = None
) -> tuple[list[Judgement | None], float]:
    import time
    from pathlib import Path

    from distill.rerank.backends.transformers import TransformersBackend
    from distill.rerank.calibration import FILE
    from distill.rerank.reranker import Reranker

    if model not in _loaded:
        _loaded.clear()  # one student at a time: chunks come in the order of their tasks
        _loaded[model] = TransformersBackend(model, batch, prompt=prompt)
    started = time.monotonic()
    kind, _, bound = mode.partition(":")
    reranker = Reranker(
        _loaded[model],
        kind,  # type: ignore[arg-type]
        max_new_tokens=max_new_tokens,
        budget=int(bound or max_new_tokens),
        calibration=str(Path(model) / FILE) if kind == "adaptive" else None,
    )
    failed = reranker.overlong(pairs)
    judgements = iter(reranker.predict([pair for pair in pairs if pair.query_id not in failed]))
    return [None if p.query_id in failed else next(judgements) for p in pairs], time.monotonic() - started
