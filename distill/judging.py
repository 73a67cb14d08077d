"""The evaluation stage: every student reranks the first stage's lists of every set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distill import store
from distill.records import Judgement, make_pair
from distill.run import Run
from distill.sources import base_of, collection_of, data_folder

if TYPE_CHECKING:
    from distill.pairs.collection import Collection


def evaluation_inputs(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {"students": run.data_hash("students")}
    from distill.pairs.build import inputs

    for each in run.config.evaluation.sets:
        if each.source == "example":
            found[each.name] = {"example": run.config.pairs.example, "seed": run.config.seed}
        else:
            paths = inputs(data_folder(run, each, each.split))
            paths += [run.base / each.first_stage] if each.first_stage != "bm25" else []
            found[each.name] = run.file_hashes(paths)
    return found


def systems(run: Run) -> dict[str, tuple[str, str]]:
    """{system: (model, mode)} of every student that is evaluated, the untrained one first.

    The untrained model answers directly: what it would write before an answer says nothing, at great length.
    """
    base = base_of(run)
    found = {"untrained": (str(run.folder / "students" / "untrained") if base == "scratch" else base, "direct")}
    for student in run.config.sft.targets:
        folder = str(run.folder / "students" / student.name)
        if student.target == "mixed":
            found |= {f"{student.name}.{mode}": (folder, mode) for mode in ("think", "direct")}
        else:
            found[student.name] = (folder, "think" if student.target == "think" else "direct")
    return found


def make_evaluation(run: Run) -> dict[str, Any]:
    metrics = run.metrics()
    metrics["evaluation"], metrics["intervals"] = {}, {}
    counts: dict[str, Any] = {"sets": {}}
    for each in run.config.evaluation.sets:
        result = _evaluate_set(run, each)
        metrics["evaluation"][each.name] = result["measures"]
        metrics["intervals"][each.name] = result["intervals"]
        counts["sets"][each.name] = result["counts"]
    run.write_metrics(metrics)
    return counts


def _evaluate_set(run: Run, each: Any) -> dict[str, Any]:
    from distill.evaluation.evaluate import evaluate
    from distill.evaluation.measures import student_measures
    from distill.evaluation.runs import write_run
    from distill.rerank.pool import Task, judge

    data = collection_of(run, each)
    out = run.folder / "evaluation"
    out.mkdir(exist_ok=True)
    first = _first_stage(run, each, data)
    candidates = [
        make_pair(q, d, data.queries[q], data.passages[d], data.instructions.get(q), split=each.split)
        for q, ranked in sorted(first.items())
        for d, _ in ranked
        if d in data.passages
    ]
    runs = {"first_stage": {q: dict(ranked) for q, ranked in first.items()}}
    extra: dict[str, dict[str, float]] = {}
    wanted = systems(run)
    tasks = [Task(name, model, mode, candidates) for name, (model, mode) in wanted.items()]
    notify = _with_set(run, each.name)
    started = time.monotonic()
    evaluation = run.config.evaluation
    for name, judgements, seconds in judge(tasks, notify, evaluation.batch, evaluation.max_new_tokens):
        store.write_rows(out / f"{each.name}.{name}", judgements, Judgement)
        runs[name] = {}
        for judgement in judgements:
            runs[name].setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.margin
        extra[name] = {
            **student_measures(judgements, data.qrels, run.config.pairs.relevant_from),
            "pairs_per_s": round(len(judgements) / seconds, 2),
        }
    result = evaluate(data.qrels, runs, evaluation.measures, run.config.seed)
    for name, ranking in runs.items():
        write_run(out / f"{each.name}.{name}.trec", ranking, name)
        result["measures"][name] |= extra.get(name, {})
    shown = {doc for ranked in first.values() for doc, _ in ranked}
    store.write_json(
        out / f"{each.name}.json",
        {
            "queries": data.queries,
            "passages": {d: data.passages[d] for d in sorted(shown) if d in data.passages},
            "qrels": data.qrels,
            "per_query": result["per_query"],
        },
    )
    seconds = round(time.monotonic() - started, 2)
    result["counts"] = {"queries": len(data.queries), "pairs": len(candidates), "seconds": seconds}
    return result


def _first_stage(run: Run, each: Any, data: Collection) -> dict[str, list[tuple[str, float]]]:
    """The lists to rerank, best first: BM25's, or those of the user's own run."""
    from distill.evaluation.runs import ranked, read_run
    from distill.pairs.bm25 import Bm25

    if each.first_stage == "bm25":
        return Bm25(data.passages).top(data.queries, each.depth)
    given = read_run(run.base / each.first_stage)
    return {query: ranked(given[query])[: each.depth] for query in data.queries if query in given}


def _with_set(run: Run, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda event: run.log({**event, "set": name})
