"""Passages in the top of a ranking that nobody judged: graded by a judge, with the measures before and after.

`distill evaluate --judge-unjudged` calls it. A new kind of ranker finds passages that the pool never held; counted as
not relevant they cost it points (Rank1 on DL19: 66 before its unjudged passages were judged, 79 after). A judge is no
assessor, so it grades passages that assessors have judged as well, and its errors widen the interval
(`distill.evaluation.unjudged_model`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import DataError
from distill.evaluation.evaluate import summarise
from distill.files.qrels import Grades
from distill.files.runs import Rankings, ranked
from distill.results import Counts, EvaluationResult, Intervals, Measures
from distill.statistics.agreement import cohen_kappa
from distill.statistics.measures import per_query
from distill.statistics.significance import interval
from distill.tables import aligned, counted

Key = tuple[str, str]
Grade = Callable[[Sequence[Key]], Mapping[Key, int | None]]
"""(query, passage) pairs to grades from 0 to 3; None where the judge comes to no decision."""

JUDGED_RELEVANT = 2  # on the judge's scale: answers the request at least in part
LEAST_JUDGED = 50  # in a system's top 20s; with fewer nothing is known of what it finds
MODEL_TOP = 20  # ranks of each run whose judged passages the model learns from
TRIED_MEASURE, TRIED_DEPTH = "nDCG@10", 10


@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedResult:
    """Every unjudged passage in the top `depth` graded, and the measures before and after.

    `error`, `corrected`, `not_estimated` are what `estimated` gives; `untried` the measures and depth for which the
    intervals' coverage was never counted; `agreement` that on judged passages out of the same tops (`agreement`);
    `holes`, `graded`, `undecided` how many are unjudged, and what became of them (undecided ones stay unjudged in
    `after`); `by_system` {SYSTEM: its "holes", and how many were graded "relevant"}; `qrels` the judgements with the
    grades; `asked` what the judge was asked, `unreadable` how many of its answers were no grade.
    """

    before: EvaluationResult
    after: EvaluationResult
    error: Intervals
    corrected: Measures
    not_estimated: dict[str, str]
    untried: list[str]
    agreement: dict[str, float]
    depth: int
    holes: int
    graded: int
    undecided: int
    by_system: dict[str, dict[str, int]]
    qrels: dict[str, dict[str, int]]
    asked: Counts | None = None
    unreadable: int | None = None


def unjudged(qrels: Grades, runs: Mapping[str, Rankings], depth: int) -> list[Key]:
    """The (query, passage) pairs in the top `depth` of any run that have no judgement; of judged queries only."""
    return sorted(key for key in _tops(qrels, runs, depth) if key[1] not in qrels[key[0]])


def judged(qrels: Grades, runs: Mapping[str, Rankings], depth: int, most: int, seed: int) -> list[Key]:
    """The control sample: at most `most` judged pairs out of the same tops, which the judge is measured on."""
    known = sorted(key for key in _tops(qrels, runs, depth) if key[1] in qrels[key[0]])
    return sorted(random.Random(f"holes:{seed}").sample(known, min(most, len(known))))


def _tops(qrels: Grades, runs: Mapping[str, Rankings], depth: int) -> set[Key]:
    return {
        (query, doc)
        for run in runs.values()
        for query, scores in run.items()
        if query in qrels
        for doc, _ in ranked(scores)[:depth]
    }


def rescaled(grade: int, highest: int) -> int:
    """A judge's grade from 0 to 3 on the scale of judgements that go up to `highest`; from 2 on it is relevant."""
    if highest == 1:
        return int(grade >= JUDGED_RELEVANT)
    return grade if highest == 3 else round(grade * highest / 3)


def filled(qrels: Grades, grades: Mapping[Key, int]) -> dict[str, dict[str, int]]:
    """The judgements and the grades together; a judgement is never replaced."""
    merged = {query: dict(labels) for query, labels in qrels.items()}
    for (query, doc), grade in grades.items():
        merged.setdefault(query, {}).setdefault(doc, grade)
    return merged


def agreement(pairs: Sequence[tuple[int, int]], relevant_from: int) -> dict[str, float]:
    """How (assessor's, judge's) grades agree: shares that are `exact`, and alike in `relevant`; Cohen's `kappa` of the
    latter; `bias`, the judge's mean grade less the assessor's; what share the judge called relevant in truth is
    (`precision`), and found (`recall`). {"pairs": 0} of none.
    """
    count = len(pairs)
    if not count:
        return {"pairs": 0}
    both = [(a >= relevant_from, b >= relevant_from) for a, b in pairs]
    alike = sum(a == b for a, b in both) / count
    human, judge = sum(a for a, _ in both) / count, sum(b for _, b in both) / count
    hits = sum(a and b for a, b in both)
    shares = {
        "exact": sum(a == b for a, b in pairs) / count,
        "relevant": alike,
        "kappa": cohen_kappa(*zip(*both, strict=True)),
        "bias": sum(b - a for a, b in pairs) / count,
        "precision": hits / (judge * count) if judge else 0.0,
        "recall": hits / (human * count) if human else 0.0,
    }
    return {"pairs": count, **{name: round(value, 4) for name, value in shares.items()}}


def check(qrels: Grades, runs: Mapping[str, Rankings], depth: int) -> None:
    """Raise DataError, before a judge is asked, for judgements from which the unjudged cannot be estimated."""
    if not any(key[1] in qrels[key[0]] for key in _tops(qrels, runs, depth)):
        raise DataError("no judged passage is in the top of any run, so the judge cannot be measured")
    if not any(qrels[query][doc] == 0 for query, doc in _judged_tops(qrels, runs, depth)):
        raise DataError(
            "none of the judged passages in the tops of the runs has grade 0, so nothing says how many unjudged "
            "passages are not relevant; give judgements that hold the passages judged not relevant as well"
        )


def judge_unjudged(
    qrels: Grades,
    runs: Mapping[str, Rankings],
    measures: Sequence[str],
    grade: Grade,
    *,
    depth: int = 10,
    control: int = 200,
    relevant_from: int = 1,
    seed: int = 0,
) -> UnjudgedResult:
    """Every unjudged passage in the top `depth` graded; the judge is measured on `control` judged ones of these tops.

    The intervals cover the judge's errors and what the model does not know of the unjudged passages, not the choice of
    queries (those of `summarise` cover that). Raises DataError as `check` does.
    """
    check(qrels, runs, depth)
    missing, known = unjudged(qrels, runs, depth), judged(qrels, runs, depth, control, seed)
    highest = max((grade for labels in qrels.values() for grade in labels.values()), default=1)
    answers = grade([*missing, *known])
    given = {key: rescaled(answer, highest) for key in missing if (answer := answers[key]) is not None}
    pairs = [(qrels[q][d], answer) for q, d in known if (answer := answers[q, d]) is not None]
    after = filled(qrels, given)
    threshold = min(relevant_from, highest)
    tops = {name: _tops(qrels, {name: run}, depth) for name, run in runs.items()}
    before = summarise({name: per_query(qrels, run, measures) for name, run in runs.items()}, seed)
    asked = {key: answers[key] for key in missing}
    names = list(dict.fromkeys(name for values in before.measures.values() for name in values))
    estimate = estimated(qrels, runs, names, asked, pairs, depth, seed)
    return UnjudgedResult(
        before=before,
        after=summarise({name: per_query(after, run, measures) for name, run in runs.items()}, seed),
        error=estimate["error"],
        corrected=estimate["corrected"],
        not_estimated=estimate["not_estimated"],
        untried=untried(names, depth),
        agreement=agreement([(assessor, rescaled(answer, highest)) for assessor, answer in pairs], threshold),
        depth=depth,
        holes=len(missing),
        graded=len(given),
        undecided=len(missing) - len(given),
        by_system={
            name: {
                "holes": sum(key in top for key in missing),
                "relevant": sum(key in top for key, value in given.items() if value >= threshold),
            }
            for name, top in tops.items()
        },
        qrels=after,
    )


def estimated(
    qrels: Grades,
    runs: Mapping[str, Rankings],
    measures: Sequence[str],
    answers: Mapping[Key, int | None],
    pairs: Sequence[tuple[int, int]],
    depth: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """{"error": {SYSTEM: {MEASURE: [low, high]}}, "corrected": {SYSTEM: {MEASURE: mean}}, "not_estimated": {SYSTEM:
    why}}: mean and the middle 95 % of each measure's means over 400 draws of the unjudged passages' grades.

    `answers` are the judge's grades (0 to 3) of the unjudged (query, passage) pairs, None where it did not decide;
    `pairs` are (assessor's grade, judge's grade) of the control sample. Measures of what was judged (`Judged@10`,
    `judged_only=True`) are left out: they say nothing once the unjudged are graded.
    """
    from distill.evaluation.unjudged_measures import drawn_means
    from distill.evaluation.unjudged_model import draw_grades

    reasons = {}
    for name, run in runs.items():
        count = len(_judged_tops(qrels, {name: run}, depth))
        if count < LEAST_JUDGED:
            reasons[name] = (
                f"{counted(count, 'judged passage')} in its top 20s; an estimate needs at least {LEAST_JUDGED}"
            )
        elif not pairs:
            reasons[name] = "the judge decided on none of the control sample, so its errors are not known"
    error: dict[str, dict[str, list[float]]] = {}
    corrected: dict[str, dict[str, float]] = {}
    if len(reasons) < len(runs):
        keys, known = sorted(answers), sorted(_judged_tops(qrels, runs, depth))
        grades = draw_grades(
            qrels, runs, known, keys, [answers[key] for key in keys], pairs, max(MODEL_TOP, depth), seed
        )
        reported = {name: run for name, run in runs.items() if name not in reasons}
        for name, means in drawn_means(qrels, reported, _of_all(measures), keys, grades).items():
            error[name] = {measure: interval(values) for measure, values in means.items()}
            corrected[name] = {measure: round(float(values.mean()), 6) for measure, values in means.items()}
    return {"error": error, "corrected": corrected, "not_estimated": reasons}


def untried(measures: Sequence[str], depth: int) -> list[str]:
    """What was asked for that the intervals' coverage was never counted on: other measures, greater depths."""
    others = [name for name in _of_all(measures) if name != TRIED_MEASURE]
    return [*others, *([f"depth {depth}"] if depth > TRIED_DEPTH else [])]


def _of_all(measures: Sequence[str]) -> list[str]:
    """The measures, without those of what was judged."""
    return [name for name in measures if not _of_judged(name)]


def _of_judged(measure: str) -> bool:
    return measure.startswith("Judged@") or "judged_only" in measure


def _judged_tops(qrels: Grades, runs: Mapping[str, Rankings], depth: int) -> set[Key]:
    """The judged pairs in the top 20 (or `depth`, where that is greater) of any run."""
    return {key for key in _tops(qrels, runs, max(MODEL_TOP, depth)) if key[1] in qrels[key[0]]}


def describe(result: UnjudgedResult) -> str:
    """Before and after as plain text: one system and measure a line, then what is known of the judge."""
    rows = [["system", f"unjudged@{result.depth}", "relevant", "measure", "before", "after", "corrected"]]
    for system, values in result.before.measures.items():
        by = result.by_system[system]
        lead = [system, str(by["holes"]), str(by["relevant"])]
        for name in filter(lambda name: not _of_judged(name), values):
            low, high = result.error.get(system, {}).get(name, (None, None))
            mean = result.corrected.get(system, {}).get(name)
            bar = "-" if mean is None else f"{mean:.4f} [{low:.4f}, {high:.4f}]"
            rows.append([*lead, name, f"{values[name]:.4f}", f"{result.after.measures[system][name]:.4f}", bar])
            lead = ["", "", ""]
    lines = [
        aligned(rows),
        "",
        *(f"{system}: no estimate: {reason}." for system, reason in result.not_estimated.items()),
    ]
    if result.untried:
        lines.append(
            f"{', '.join(result.untried)}: how often the intervals hold was counted for {TRIED_MEASURE} in the top "
            f"{TRIED_DEPTH} alone."
        )
    known = result.agreement
    summary = f"{result.graded} of {result.holes} unjudged passages were graded"
    if known["pairs"]:
        summary += (
            f"; on {counted(known['pairs'], 'judged passage')} of the same tops the judge agrees with the assessors in "
            f"{known['relevant']:.0%} (relevant or not; kappa {known['kappa']:.2f}), bias {known['bias']:+.2f} grades"
        )
    return "\n".join([*lines, summary + "."])
