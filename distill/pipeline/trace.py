"""The stage `trace`: the teacher's reasoning and verdict on every pair. Called by `stages` and `dry_run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from distill import store
from distill.files import READING
from distill.pipeline import refresh
from distill.pipeline.filter_tools import count_when_written
from distill.pipeline.pairs import teacher_running
from distill.pipeline.run import Run
from distill.pipeline.sets import suite_of
from distill.pipeline.stage import Stage
from distill.records import Pair
from distill.results import Counts, Json

if TYPE_CHECKING:
    from teacher.estimate import Estimate


def _settings(run: Run) -> Json:
    """What decides which answers there are: not where they are asked, at what price, or how fast."""
    pairs = run.config.pairs
    # Where the teacher writes the queries, all parts are made and only some asked about; else only these are made.
    asked = {"ask": pairs.ask} if pairs.synthesize and pairs.ask != ["train"] else {}
    return {**run.config.teacher.identity(), "prompt": run.config.prompt, **asked}


def _inputs(run: Run) -> Counts:
    reading = {"reading": READING} if run.config.teacher.import_ else {}
    return {"pairs": run.data_hash("pairs"), **reading}


def _asked(run: Run) -> Iterator[Pair]:
    """The run's pairs that are asked about."""
    return (pair for pair in store.read_rows(run.pairs, Pair) if pair.split in run.config.pairs.ask)


def _make(run: Run) -> Counts:
    from teacher.stage import trace

    refresh.refuse_leaks(run, ((entry.name, suite_of(run, entry)) for entry in run.config.evaluation.sets))
    by_split = (store.read_manifest(run.pairs) or {}).get("result", {}).get("by_split", {})
    refresh.take_answers(run)
    with teacher_running(run) as url:
        result = trace(
            _asked(run),
            run.config.teacher,
            run.traces,
            base_url=url,
            notify=run.log,
            total=sum(by_split.get(split, 0) for split in run.config.pairs.ask) or None,
            retry_failed=run.retry_failed,
            quiet=run.quiet,
        )
    count_when_written(run, result)
    return result


def asking_estimate(run: Run, pairs: Iterable[Pair] | None = None) -> Estimate | str:
    """What asking would take, or why nothing is known of it; nothing is sent.

    `pairs` are those that a run would make, where they are not made yet; None where they are not known.
    """
    from teacher.estimate import estimate

    if run.config.teacher.source == "none":
        return "no teacher is named, so nothing can be asked"
    if run.config.teacher.source == "labels":
        return "nobody is asked: the pairs' labels are the answers"
    if not run.config.teacher.asks:
        imported = run.config.teacher.import_
        return f"traces are read from {imported.path if imported else run.config.teacher.source}"
    if store.read_manifest(run.pairs) is not None:
        return estimate(_asked(run), run.config.teacher, run.traces, refresh.journal(run))
    if run.config.pairs.source == "example":
        if run.config.teacher.source == "example":
            return "the embedded example costs nothing"
        return "no estimate before the example's pairs are made; `distill pairs` makes them"
    if pairs is None:
        return "no estimate before the teacher has written the queries; `distill pairs` has it write them"
    asked = (pair for pair in pairs if pair.split in run.config.pairs.ask)
    return estimate(asked, run.config.teacher, run.traces, refresh.journal(run))


STAGE = Stage("trace", "traces", ("pairs",), _settings, _inputs, _make)
