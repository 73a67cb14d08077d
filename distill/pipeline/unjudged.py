"""`distill evaluate --judge-unjudged`: the teacher grades what nobody judged; the measures before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.errors import ConfigError, DataError, RunFolderError
from distill.evaluation.cli import MEASURES, FileOptions, UnjudgedOptions
from distill.evaluation.unjudged import Key, UnjudgedResult, check, describe, judge_unjudged
from distill.files.qrels import Grades, whole_grades, write_qrels
from distill.pipeline.check import check as check_run
from distill.pipeline.run import Run
from distill.pipeline.sets import suite_of
from distill.results import as_json

if TYPE_CHECKING:
    from distill.evaluation.suites.base import Texts
    from distill.files.runs import Rankings


def main(run: Run, files: FileOptions, options: UnjudgedOptions) -> int:
    """Judge what is unjudged in the run's evaluated sets, or in the runs of --run; print what that changes."""
    run.claim()
    check_run(run)
    with run.held():
        run.write_config()
        results = {"": of_files(run, files, options)} if files.qrels or files.run else of_run(run, options)
        if "" not in results:
            from distill.report.build import build

            run.say(f"report: {build(run.folder)}")
    for name, result in results.items():
        print(f"{name}\n{describe(result)}\n" if name else describe(result))
    files.write(results.get("", results), [result.after for result in results.values()])
    return 0


def of_run(run: Run, options: UnjudgedOptions) -> dict[str, UnjudgedResult]:
    """{SET: result} of the sets that the run has evaluated and that are measured by query.

    A set whose judgements say too little (`check`) is left out with its reason, before the teacher is asked.
    Writes evaluation/SET.holes.json and the judgements with the grades, SET.holes.qrels; metrics.json gets `holes`.
    """
    from distill.files.runs import read_run
    from distill.statistics.measures import relevant_measures

    out, results = run.evaluation, dict[str, UnjudgedResult]()
    refused: list[str] = []
    for entry in run.config.evaluation.sets:
        suite = suite_of(run, entry)
        if not suite.measured:
            continue
        paths = sorted(out.glob(f"{entry.name}.*.trec"))
        if not paths:
            raise RunFolderError(f"{out}: holds no run of {entry.name}; `distill evaluate {run.origin}` makes them")
        runs = {path.name.removeprefix(f"{entry.name}.").removesuffix(".trec"): read_run(path) for path in paths}
        least = suite.relevant_from or run.config.pairs.relevant_from
        qrels = whole_grades(suite.qrels, entry.name)
        try:
            check(qrels, runs, options.unjudged_depth)
        except DataError as error:
            refused.append(f"{entry.name}: {error}")
            run.say(refused[-1])
            continue
        measures = relevant_measures(run.config.evaluation.measures, least)
        results[entry.name] = _judged(run, suite, qrels, runs, measures, options, least)
        _keep(out / f"{entry.name}.holes", results[entry.name])
    if refused and not results:
        raise DataError("; ".join(refused))
    if not results:
        raise ConfigError("evaluation.sets: no set here is measured by query, so none has unjudged passages")
    metrics = run.metrics()
    metrics.holes = {
        name: _without(result, "qrels") | {"before": result.before.measures, "after": result.after.measures}
        for name, result in results.items()
    }
    run.write_metrics(metrics)
    return results


def of_files(run: Run, files: FileOptions, options: UnjudgedOptions) -> UnjudgedResult:
    """The result for the runs of --run against --qrels, their texts from the BEIR folder --texts."""
    from distill.evaluation.files import read_files
    from distill.pairs.collection import gather_texts
    from distill.pairs.sources.beir import Beir

    if not (files.qrels and files.run and files.texts):
        raise ConfigError("--judge-unjudged of your own runs needs --qrels, --run, and --texts, a folder of texts")
    judged, runs = read_files(files.qrels, files.run)
    qrels = whole_grades(judged, str(files.qrels))
    check(qrels, runs, options.unjudged_depth)
    texts = gather_texts(Beir(files.texts))
    measures = files.measure or MEASURES
    return _judged(run, texts, qrels, runs, measures, options, run.config.pairs.relevant_from)


def _judged(
    run: Run,
    texts: Texts,
    qrels: Grades,
    runs: Mapping[str, Rankings],
    measures: Sequence[str],
    options: UnjudgedOptions,
    least: int,
) -> UnjudgedResult:
    from distill.pairs.generation.judge import grades
    from distill.pairs.generation.settings import JudgeSettings
    from distill.pipeline.pairs import teacher_session

    judge = run.config.pairs.judge or JudgeSettings()
    counts: Counter[str] = Counter()

    def text(key: Key) -> tuple[str, str | None, str]:
        query, doc = key
        if query not in texts.queries or doc not in texts.passages:
            raise DataError(f"query {query!r}, passage {doc!r}: no text of it, so it cannot be judged; give its text")
        return texts.queries[query], texts.instructions.get(query), texts.passages[doc]

    def grade(keys: Sequence[Key]) -> Mapping[Key, int | None]:
        requests = [(key, text(key)) for key in keys]  # a missing text is an error before anything is asked
        return grades(ask, judge, requests, counts, "judge")

    with teacher_session(run, "evaluate") as ask:
        result = judge_unjudged(
            qrels, runs, measures, grade,
            depth=options.unjudged_depth, control=options.control, relevant_from=least, seed=run.config.seed,
        )  # fmt: skip
        return replace(result, asked=ask.counts(), unreadable=counts["unreadable"])


def _keep(stem: Path, result: UnjudgedResult) -> None:
    store.write_json(f"{stem}.json", _without(result, "qrels"))
    write_qrels(Path(f"{stem}.qrels"), result.qrels)


def _without(result: UnjudgedResult, *names: str) -> dict[str, Any]:
    """The result as JSON values, some fields left out."""
    return {name: value for name, value in as_json(result).items() if name not in names}
