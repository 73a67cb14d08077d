"""`distill evaluate --judge-holes`: the teacher grades what nobody judged; the measures before and after."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.errors import ConfigError, DataError, RunFolderError
from distill.evaluation.holes import Key, describe, judge_holes
from distill.pipeline.run import Run
from distill.pipeline.sets import suite_of

if TYPE_CHECKING:
    from distill.evaluation.suites.base import Texts


def main(parsed: argparse.Namespace) -> int:
    """Judge the holes of the run's evaluated sets, or of the runs of --qrels and --run; print what that changes."""
    from distill import config
    from distill.evaluation.cli import need_config, write
    from distill.pipeline.config import RunConfig
    from distill.pipeline.sources import check

    need_config(parsed)
    origin = Path(parsed.config)
    settings = config.load(RunConfig, origin, parsed.overrides)
    run = Run(settings, Path(parsed.out) if parsed.out else Path("runs") / settings.name, origin)
    run.claim()
    check(run)
    with store.lease(run.folder):
        run.write_config()
        found = {"": of_files(run, parsed)} if parsed.qrels or parsed.run else of_run(run, parsed)
        if "" not in found:
            from distill.report.build import build

            run.say(f"report: {build(run.folder)}")
    for name, result in found.items():
        print(f"{name}\n{describe(result)}\n" if name else describe(result))
    write(parsed, found.get("", found), [result["after"] for result in found.values()])
    return 0


def of_run(run: Run, parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """{SET: result} of the sets that the run has evaluated and that are measured by query.

    Writes evaluation/SET.holes.json and the judgements with the grades, SET.holes.qrels; metrics.json gets `holes`.
    """
    from distill.files.runs import read_run

    out, found = run.folder / "evaluation", {}
    for each in run.config.evaluation.sets:
        suite = suite_of(run, each)
        if not suite.measured:
            continue
        paths = sorted(out.glob(f"{each.name}.*.trec"))
        if not paths:
            raise RunFolderError(f"{out}: holds no run of {each.name}; `distill evaluate {parsed.config}` makes them")
        runs = {path.name.removeprefix(f"{each.name}.").removesuffix(".trec"): read_run(path) for path in paths}
        least = suite.relevant_from or run.config.pairs.relevant_from
        found[each.name] = _judged(run, suite, suite.qrels, runs, run.config.evaluation.measures, parsed, least)
        _keep(out / f"{each.name}.holes", found[each.name])
    if not found:
        raise ConfigError("evaluation.sets: no set here is measured by query, so none has holes")
    metrics = run.metrics()
    metrics["holes"] = {
        name: {k: v for k, v in result.items() if k != "qrels" and not isinstance(v, dict)}
        | {key: result[key] for key in ("agreement", "error", "corrected", "by_system")}
        | {when: result[when]["measures"] for when in ("before", "after")}
        for name, result in found.items()
    }
    run.write_metrics(metrics)
    return found


def of_files(run: Run, parsed: argparse.Namespace) -> dict[str, Any]:
    """The result for the runs of --run against --qrels, their texts from the BEIR folder --texts."""
    from distill.evaluation.cli import MEASURES
    from distill.evaluation.files import read_files
    from distill.pairs.collection import gather
    from distill.pairs.settings import DataSettings
    from distill.pairs.sources.registry import open_source

    if not (parsed.qrels and parsed.run and parsed.texts):
        raise ConfigError("--judge-holes of your own runs needs --qrels, --run, and --texts, a folder with the texts")
    qrels, runs = read_files(Path(parsed.qrels), [Path(each) for each in parsed.run])
    folder = Path(parsed.texts)
    texts = gather(open_source(DataSettings(path=str(folder)), folder, None), None)
    measures = parsed.measure or list(MEASURES)
    return _judged(run, texts, qrels, runs, measures, parsed, run.config.pairs.relevant_from)


def _judged(
    run: Run, texts: Texts, qrels: Any, runs: Any, measures: Sequence[str], parsed: argparse.Namespace, least: int
) -> dict[str, Any]:
    from distill.pairs.generation.judge import grades
    from distill.pairs.generation.settings import JudgeSettings
    from distill.pipeline.pairs import teacher_running
    from teacher.asker import asking

    judge = run.config.pairs.judge or JudgeSettings()
    counts: Counter[str] = Counter()

    def text(key: Key) -> tuple[str, str | None, str]:
        query, doc = key
        if query not in texts.queries or doc not in texts.passages:
            raise DataError(f"query {query!r}, passage {doc!r}: no text of it, so it cannot be judged; give its text")
        return texts.queries[query], texts.instructions.get(query), texts.passages[doc]

    with teacher_running(run) as url, asking(
        run.config.teacher, run.folder / "traces", stage="evaluate", base_url=url, notify=run.log
    ) as ask:  # fmt: skip

        def grade(keys: Sequence[Key]) -> Mapping[Key, int | None]:
            return grades(ask, judge, ((key, text(key)) for key in keys), counts, "judge")

        result = judge_holes(
            qrels, runs, measures, grade,
            depth=parsed.holes_depth, control=parsed.control, relevant_from=least, seed=run.config.seed,
        )  # fmt: skip
        result["asked"] = ask.counts()
    return result | {"unreadable": counts["unreadable"]}


def _keep(stem: Path, result: dict[str, Any]) -> None:
    store.write_json(f"{stem}.json", {key: value for key, value in result.items() if key != "qrels"})
    rows = ((q, d, grade) for q, labels in sorted(result["qrels"].items()) for d, grade in sorted(labels.items()))
    Path(f"{stem}.qrels").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, grade in rows), encoding="utf-8")
