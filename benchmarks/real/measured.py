"""What finished runs measured, folds pooled by query: means, intervals, tests. Called by `run.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TypedDict

from distill.evaluation.evaluate import summarise
from distill.evaluation.measures import student_intervals, student_measures
from distill.evaluation.seeds import details
from distill.files.runs import read_run
from distill.records import Judgement
from distill.results import EvaluationResult, RunMetrics, SetDetail, read_as
from distill.store import read_json, read_rows

Values = dict[str, dict[str, dict[str, float]]]  # {system: {measure: {query: value}}}


class Row(TypedDict, total=False):
    """One system: measures with intervals, tests (p after Holm's correction) against BM25 and the untrained base."""

    system: str
    measures: dict[str, float]
    intervals: dict[str, list[float]]
    p_first_stage: dict[str, float]
    p_untrained: dict[str, float]
    ece: float
    ece_interval: list[float]
    tokens_per_pair: float
    seconds_per_pair: float
    training_minutes: float
    training_tokens: float
    rows: int


class How(TypedDict):
    """What decides a table's figures next to the configuration: the base's name, passages a query (0: the set's own
    lists), the settings that were given; `of` is how many runs it would take to be whole."""

    base: str
    depth: int
    settings: list[str]
    of: int


class Table(TypedDict):
    """One set of one row's runs."""

    row: str
    set: str
    how: How
    runs: list[str]
    queries: int
    pairs: int
    peak_gib: float
    hours: float
    systems: list[Row]


def auc(scores: Mapping[str, float], labels: Mapping[str, float], relevant_from: int) -> float | None:
    """How often a relevant passage of a query is above another, ties half; None where it has not both kinds."""
    right = [score for doc, score in scores.items() if labels.get(doc, -1) >= relevant_from]
    wrong = [score for doc, score in scores.items() if 0 <= labels.get(doc, -1) < relevant_from]
    if not right or not wrong:
        return None
    return fmean((a > b) + (a == b) / 2 for a in right for b in wrong)


def measured(row: str, folders: Sequence[Path], how: How, trained: bool = True) -> list[Table]:
    """The tables of all sets but development sets, from runs whose queries differ or are the same run's; `trained` says
    whether the students were trained in them."""
    names = sorted(set.intersection(*(set(details(folder)) for folder in folders)) - {"dev"})
    return [_table(row, name, folders, how, trained) for name in names]


def merged(old: Sequence[Table], new: Sequence[Table]) -> list[Table]:
    """The old tables with the new ones in place of those of the same row, set and base, or behind them."""
    tables = {(table["row"], table["set"], table["how"]["base"]): table for table in [*old, *new]}
    return list(tables.values())


def _table(row: str, name: str, folders: Sequence[Path], how: How, trained: bool) -> Table:
    values: Values = {}
    judged: dict[str, list[Judgement]] = {}
    qrels: dict[str, dict[str, float]] = {}
    relevant_from = 1
    for folder in folders:
        detail = read_as(SetDetail, read_json(folder / f"evaluation/{name}.json"))
        relevant_from = 2 if detail.kind == "dl19" else 1
        qrels |= detail.qrels
        for system, by_measure in detail.per_query.items():
            for measure, by_query in by_measure.items():
                values.setdefault(system, {}).setdefault(measure, {}).update(by_query)
            ranking = read_run(folder / f"evaluation/{name}.{system}.trec")
            areas = {
                query: auc(scores, detail.qrels.get(query, {}), relevant_from) for query, scores in ranking.items()
            }
            kept = {query: area for query, area in areas.items() if area is not None}
            values[system].setdefault("AUC", {}).update(kept)
            if (folder / f"evaluation/{name}.{system}").is_dir():
                rows = read_rows(folder / f"evaluation/{name}.{system}", Judgement)
                judged.setdefault(system, []).extend(rows)
    metrics = [read_as(RunMetrics, read_json(folder / "metrics.json")) for folder in folders]
    first = summarise(values, 0, "first_stage")
    plain = summarise(values, 0, "untrained") if "untrained" in values else None
    systems = [_row(system, name, first, plain, judged.get(system), qrels, relevant_from, metrics) for system in values]
    students = [student for metric in metrics for student in metric.counts("sft").students.values()]
    return Table(
        row=row,
        set=name,
        how=how,
        runs=[folder.name for folder in folders],
        queries=len(next(iter(values["first_stage"].values()))),
        pairs=max(map(len, judged.values()), default=0),
        peak_gib=max((student.peak_gib or 0 for student in students if trained), default=0),
        hours=round(sum(seconds_of(metric, trained) for metric in metrics) / 3600, 2),
        systems=systems,
    )


def seconds_of(metrics: RunMetrics, trained: bool) -> float:
    """Of judging each set and, where that was this run's, of all before; evaluate's own count is of its last call."""
    counts, pairs_s = metrics.counts("evaluate"), 0.0
    for name, entry in counts.sets.items():
        paces = [system.get("pairs_per_s") for system in metrics.evaluation[name].values()]
        pairs_s += sum((entry.pairs or 0) / pace for pace in paces if pace)
    if not trained:
        return pairs_s
    stages = [
        float(stage.get("seconds", 0)) for name, stage in metrics.stages.items() if name not in ("sft", "evaluate")
    ]
    return pairs_s + sum(stages) + sum(student.seconds or 0 for student in metrics.counts("sft").students.values())


def _row(
    system: str,
    name: str,
    first: EvaluationResult,
    plain: EvaluationResult | None,
    judgements: Sequence[Judgement] | None,
    qrels: dict[str, dict[str, float]],
    relevant_from: int,
    metrics: Sequence[RunMetrics],
) -> Row:
    made = Row(system=system, measures=first.measures[system], intervals=first.intervals[system])
    for key, result in (("p_first_stage", first), ("p_untrained", plain)):
        tests = result.tests.get(system, {}) if result else {}
        made[key] = {measure: test.p_holm for measure, test in tests.items()}  # type: ignore[literal-required]
    if judgements:
        own = student_measures(judgements, qrels, relevant_from)
        made["ece"], made["tokens_per_pair"] = own["ECE"], own["tokens_per_pair"]
        made["ece_interval"] = student_intervals(judgements, qrels, relevant_from)["ECE"]
        paces = [metric.evaluation[name][system]["pairs_per_s"] for metric in metrics]
        made["seconds_per_pair"] = round(fmean(1 / pace for pace in paces if pace), 3)
    students = [metric.counts("sft").students.get(system.partition(".")[0]) for metric in metrics]
    if trained := [student for student in students if student is not None]:
        made["training_minutes"] = round(fmean(student.seconds or 0 for student in trained) / 60, 1)
        made["training_tokens"] = round(fmean(student.tokens or 0 for student in trained))
        examples = [metric.counts("dataset").examples.get(system.partition(".")[0], 0) for metric in metrics]
        made["rows"] = round(fmean(examples))
    return made
