"""The evaluation stage: every student reranks the first stage's lists of every set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distill import store
from distill.pipeline import modes
from distill.pipeline.run import Run, dump
from distill.pipeline.sets import HeldOut, first_stage, suite_of
from distill.pipeline.sources import base_of
from distill.pipeline.stage import Stage
from distill.prompts import PROMPTS
from distill.records import Judgement, make_pair
from distill.results import Counts, Json

if TYPE_CHECKING:
    from distill.evaluation.evaluate import Comparison
    from distill.evaluation.settings import SetSettings


def _settings(run: Run) -> Json:
    """The evaluation's own, and those of the pairs that decide measures and lists, where they are not the defaults."""
    of_pairs = run.config.pairs.model_dump(include={"relevant_from", "language"}, exclude_defaults=True)
    return {**dump(run.config.evaluation), "seed": run.config.seed, **of_pairs}


def _inputs(run: Run) -> Counts:
    return {"students": run.data_hash("students"), **HeldOut(run).inputs()}


def systems(run: Run) -> dict[str, tuple[str, str]]:
    """{system: (model, mode)} of every student that is evaluated, the untrained one first.

    The untrained model answers directly: what it would write before an answer says nothing, at great length.
    """
    base = base_of(run)
    found = {"untrained": (str(run.students / "untrained") if base == "scratch" else base, "direct")}
    for student in run.config.sft.targets:
        folder = str(run.students / student.name)
        found |= {system: (folder, mode) for system, mode in modes.modes_of(run, student).items()}
    return found


def _make(run: Run) -> Counts:
    metrics = run.metrics()
    metrics["evaluation"], metrics["intervals"] = {}, {}
    counts: dict[str, Any] = {"sets": {}}
    for each in modes.in_order(run):
        result, counts["sets"][each.name] = _evaluate_set(run, each)
        metrics["evaluation"][each.name] = result["measures"]
        metrics["intervals"][each.name] = result["intervals"]
    run.write_metrics(metrics)
    return counts


def _evaluate_set(run: Run, each: SetSettings) -> tuple[Comparison, Counts]:
    from distill.evaluation import tables
    from distill.evaluation.evaluate import summarise
    from distill.evaluation.measures import student_intervals, student_measures
    from distill.files.runs import write_run
    from distill.rerank.pool import Task, judge

    data = suite_of(run, each)
    out = run.evaluation
    out.mkdir(exist_ok=True)
    first = first_stage(run, each, data)
    left_out = {**data.left_out, **first.left_out}
    for what, count in left_out.items():
        run.say(f"  {each.name}: {count:,} {what}")
    candidates = [
        make_pair(q, d, data.queries[q], data.passages[d], data.instructions.get(q), split=each.split)
        for q, ranked in sorted(first.items())
        for d, _ in ranked
    ]
    runs = {"first_stage": {q: dict(ranked) for q, ranked in first.items()}}
    extra: dict[str, dict[str, float]] = {}
    wanted = systems(run)
    scale = run.config.prompt if len(PROMPTS[run.config.prompt].verdicts) > 2 else None  # a plain base names no prompt
    tasks = [
        Task(n, model, mode, candidates, scale if n == "untrained" else None)
        for n, (model, mode) in wanted.items()
        if modes.due(run, each.name, mode)
    ]
    judged: dict[str, list[Judgement]] = {}
    took: dict[str, float] = {}
    notify = _with_set(run, each.name)
    started = time.monotonic()
    evaluation = run.config.evaluation
    for name, answers, seconds in judge(tasks, notify, evaluation.batch, evaluation.max_new_tokens):
        judgements = [judgement for judgement in answers if judgement is not None]
        failed = {p.query_id: None for p, judgement in zip(candidates, answers, strict=True) if judgement is None}
        if failed:
            left_out[_too_long(name, list(failed))] = len(failed)
            run.say(f"  {each.name}: WARNING: {len(failed):,} {_too_long(name, list(failed))}")
        store.write_rows(out / f"{each.name}.{name}", judgements, Judgement)
        runs[name], judged[name], took[name] = {}, judgements, seconds
        for judgement in judgements:
            runs[name].setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.margin
        extra[name] = {
            **student_measures(judgements, data.qrels, data.relevant_from or run.config.pairs.relevant_from),
            "pairs_per_s": round(len(judgements) / seconds, 2),
        }
    relevant_from = data.relevant_from or run.config.pairs.relevant_from
    if each.name == evaluation.calibrate_on:
        modes.calibrate(run, judged, data.qrels, relevant_from)
        if evaluation.calibration_instructions:
            modes.recheck(run, candidates, data.qrels, relevant_from)
    modes.write(out, each.name, modes.describe(run, judged, data.qrels, relevant_from, took))
    runs = {name: runs[name] for name in ("first_stage", *wanted) if name in runs}  # not in the order of their ending
    result = summarise(
        {name: data.values(ranking, evaluation.measures) for name, ranking in runs.items()}, run.config.seed
    )
    (out / f"{each.name}.md").write_text(tables.markdown_table(result), encoding="utf-8")
    (out / f"{each.name}.tex").write_text(tables.latex_table(result), encoding="utf-8")
    for name, ranking in runs.items():
        write_run(out / f"{each.name}.{name}.trec", ranking, name)
        result["measures"][name] |= extra.get(name, {})
        if name in judged:
            result["intervals"][name] |= student_intervals(judged[name], data.qrels, relevant_from, run.config.seed)
    shown = {doc for ranked in first.values() for doc, _ in ranked}
    store.write_json(
        out / f"{each.name}.json",
        {
            "kind": data.kind,
            "queries": dict(data.queries),
            "instructions": dict(data.instructions),
            "passages": {d: data.passages[d] for d in sorted(shown)},
            "qrels": {query: dict(labels) for query, labels in data.qrels.items()},
            "tests": result["tests"],
            "left_out": left_out,
            "listed": _listed(data.qrels, first, data.relevant_from or run.config.pairs.relevant_from),
            "per_query": result["per_query"],
        },
    )
    seconds = round(time.monotonic() - started, 2)
    return result, {
        "queries": len(data.queries),
        "pairs": len(candidates),
        "seconds": seconds,
        "left_out": left_out,
    }


def _too_long(system: str, queries: list[str]) -> str:
    """What terminal and report say of queries that a student cannot read; their number comes first."""
    some = ", ".join(queries[:5]) + (", ..." if len(queries) > 5 else "")
    return f"queries too long for {system}, which were not judged and count 0 ({some})"


def _listed(qrels: Any, first: Any, relevant_from: int) -> dict[str, int]:
    """How many of the relevant passages the first stage's lists hold: no reranker finds the others."""
    relevant = {(q, d) for q, labels in qrels.items() for d, grade in labels.items() if grade >= relevant_from}
    listed = {(q, d) for q, rows in first.items() for d, _ in rows}
    return {"relevant": len(relevant & listed), "of": len(relevant)}


def _with_set(run: Run, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda event: run.log({**event, "set": name})


STAGE = Stage("evaluate", "evaluation", ("students",), _settings, _inputs, _make)
