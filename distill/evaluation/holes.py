"""Holes: passages in the top of a ranking that nobody judged. They are graded, and measures told before and after.

A new kind of ranker finds passages that the pool never held; counted as not relevant they cost it points (Rank1 on
DL19: 66 before its holes were judged, 79 after). A judge is no assessor, so its word on passages that assessors have
judged is told too, and turned into an error bar.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.errors import DataError
from distill.evaluation.evaluate import summarise
from distill.evaluation.measures import Qrels, per_query
from distill.evaluation.significance import interval
from distill.files.runs import Rankings, ranked

Key = tuple[str, str]
Grade = Callable[[Sequence[Key]], Mapping[Key, int | None]]
"""(query, passage) pairs to grades from 0 to 3; None where the judge comes to no decision."""

REDRAWS = 200
JUDGED_RELEVANT = 2  # on the judge's scale: answers the request at least in part


def unjudged(qrels: Qrels, runs: Mapping[str, Rankings], depth: int) -> list[Key]:
    """The (query, passage) pairs in the top `depth` of any run that have no judgement; of judged queries only."""
    return sorted(key for key in _tops(qrels, runs, depth) if key[1] not in qrels[key[0]])


def judged(qrels: Qrels, runs: Mapping[str, Rankings], depth: int, most: int, seed: int) -> list[Key]:
    """At most `most` judged pairs out of the same tops, drawn: what the judge is measured on."""
    known = sorted(key for key in _tops(qrels, runs, depth) if key[1] in qrels[key[0]])
    return sorted(random.Random(f"holes:{seed}").sample(known, min(most, len(known))))


def _tops(qrels: Qrels, runs: Mapping[str, Rankings], depth: int) -> set[Key]:
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


def filled(qrels: Qrels, grades: Mapping[Key, int]) -> dict[str, dict[str, int]]:
    """The judgements with the grades beside them; a judgement is never replaced."""
    found = {query: dict(labels) for query, labels in qrels.items()}
    for (query, doc), grade in grades.items():
        found.setdefault(query, {}).setdefault(doc, grade)
    return found


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
    chance = human * judge + (1 - human) * (1 - judge)
    hits = sum(a and b for a, b in both)
    found = {
        "exact": sum(a == b for a, b in pairs) / count,
        "relevant": alike,
        "kappa": (alike - chance) / (1 - chance) if chance < 1 else 1.0,
        "bias": sum(b - a for a, b in pairs) / count,
        "precision": hits / (judge * count) if judge else 0.0,
        "recall": hits / (human * count) if human else 0.0,
    }
    return {"pairs": count, **{name: round(value, 4) for name, value in found.items()}}


def judge_holes(
    qrels: Qrels,
    runs: Mapping[str, Rankings],
    measures: Sequence[str],
    grade: Grade,
    *,
    depth: int = 10,
    control: int = 200,
    relevant_from: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Every unjudged passage in the top `depth` graded, and the measures before and after.

    {"before", "after": what `summarise` gives; "error", "corrected": what `redrawn` gives; "agreement" on `control`
    judged passages out of the same tops; "holes", "graded", "undecided": how many; "by_system": {SYSTEM: its "holes",
    and how many were graded "relevant"}; "qrels": the judgements with the grades}. Undecided ones stay holes.

    The error bar holds 95 % of the means when the holes' grades are drawn anew by `redrawn`: what assessors might
    have said, given what this judge said. It covers the judge's errors as the control shows them, and not the choice
    of queries (the intervals cover that), nor a judge that errs otherwise on holes than on judged passages.
    Raises DataError where no passage is judged, so that there is nothing to measure the judge on.
    """
    holes, known = unjudged(qrels, runs, depth), judged(qrels, runs, depth, control, seed)
    if not known:
        raise DataError("no judged passage stands in the top of any run, so the judge cannot be measured")
    highest = max((grade for labels in qrels.values() for grade in labels.values()), default=1)
    said = grade([*holes, *known])
    given = {key: rescaled(g, highest) for key in holes if (g := said[key]) is not None}
    pairs = [(qrels[q][d], rescaled(g, highest)) for q, d in known if (g := said[q, d]) is not None]
    after = filled(qrels, given)
    threshold = min(relevant_from, highest)
    tops = {name: _tops(qrels, {name: run}, depth) for name, run in runs.items()}
    return {
        "before": summarise({name: per_query(qrels, run, measures) for name, run in runs.items()}, seed),
        "after": summarise({name: per_query(after, run, measures) for name, run in runs.items()}, seed),
        **(redrawn(qrels, runs, measures, given, pairs, depth, seed) if pairs else {"error": {}, "corrected": {}}),
        "agreement": agreement(pairs, threshold),
        "depth": depth,
        "holes": len(holes),
        "graded": len(given),
        "undecided": len(holes) - len(given),
        "by_system": {
            name: {
                "holes": sum(key in top for key in holes),
                "relevant": sum(key in top for key, value in given.items() if value >= threshold),
            }
            for name, top in tops.items()
        },
        "qrels": after,
    }


def redrawn(
    qrels: Qrels,
    runs: Mapping[str, Rankings],
    measures: Sequence[str],
    given: Mapping[Key, int],
    pairs: Sequence[tuple[int, int]],
    depth: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    """{"error": {SYSTEM: {MEASURE: [low, high]}}, "corrected": {SYSTEM: {MEASURE: mean}}} when the holes' grades
    `given` are redrawn, by (assessor's, judge's) `pairs`.

    200 times: the control is drawn with replacement, and how often the judge says what of each assessor's grade is
    counted on it. How the assessor's grades are spread over the holes starts from the judged passages in the same
    query's tops, and is turned until it fits what the judge said of the holes (Saerens, Latinne and Decaestecker 2002:
    holes are mostly less relevant than judged passages). Each hole then draws a grade by Bayes' rule.
    """
    import numpy as np

    touched = sorted({query for query, _ in given})
    part = {query: qrels[query] for query in touched}
    rest = {query: labels for query, labels in qrels.items() if query not in part}
    still = {
        name: {m: sum(values.values()) for m, values in per_query(rest, run, measures).items()} if rest else {}
        for name, run in runs.items()
    }
    said_grades = {grade for pair in pairs for grade in pair} | set(given.values())
    scale = sorted(said_grades | {grade for labels in qrels.values() for grade in labels.values()})
    draw = np.random.default_rng(seed)
    means: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in runs}
    said = np.array([scale.index(value) for value in given.values()], dtype=int)
    known = np.array([[scale.index(a), scale.index(b)] for a, b in pairs], dtype=int)
    known_grades = [(query, qrels[query][doc]) for query, doc in _tops(qrels, runs, depth) if doc in qrels[query]]
    spread = _spread([query for query, _ in given], known_grades, scale)
    for _ in range(REDRAWS if touched else 1):
        meant = _meant(known[draw.integers(0, len(known), len(known))], said, spread)
        lots = (draw.random((len(said), 1)) > meant.cumsum(axis=1)).sum(axis=1).clip(max=len(scale) - 1)
        labels = filled(part, {key: scale[at] for key, at in zip(given, lots, strict=True)})
        for name, run in runs.items():
            values = per_query(labels, run, measures) if touched else {}
            for measure in values or still[name]:
                total = sum(values.get(measure, {}).values()) + still[name].get(measure, 0.0)
                means[name][measure].append(total / len(qrels))
    return {
        "error": {name: {m: interval(np.array(rows)) for m, rows in by.items()} for name, by in means.items()},
        "corrected": {
            name: {m: round(float(np.mean(rows)), 6) for m, rows in by.items()} for name, by in means.items()
        },
    }


def _spread(queries: Sequence[str], known: Sequence[tuple[str, int]], scale: Sequence[int]) -> Any:
    """(holes, grades) shares of each grade among the judged passages of the hole's query, mixed with two of all."""
    import numpy as np

    place = {query: at for at, query in enumerate(dict.fromkeys(queries))}
    counts = np.zeros((len(place), len(scale)))
    every = np.full(len(scale), 1e-3)
    for query, grade in known:
        every[scale.index(grade)] += 1
        if query in place:
            counts[place[query], scale.index(grade)] += 1
    shares = counts + 2 * every / every.sum()
    rows = [place[query] for query in queries]
    return (shares / shares.sum(axis=1, keepdims=True))[rows]


def _meant(known: Any, said: Any, spread: Any) -> Any:
    """(holes, grades) probabilities of what assessors would have said; rows add up to 1."""
    import numpy as np

    size = spread.shape[1]
    counts = np.full((size, size), 0.5 / size)  # of (assessor, judge), with half a passage spread over each row
    np.add.at(counts, (known[:, 0], known[:, 1]), 1.0)
    likely = (counts / counts.sum(axis=1, keepdims=True))[:, said].T
    turned = np.ones(size)
    for _ in range(30):
        before = spread * turned
        before /= before.sum(axis=1, keepdims=True)
        after = before * likely
        after /= after.sum(axis=1, keepdims=True)
        turned *= (after.sum(axis=0) + 1e-6) / (before.sum(axis=0) + 1e-6)
        turned /= turned.sum()
    return after


def describe(result: Mapping[str, Any]) -> str:
    """Before and after as plain text: one system and measure a line, then what is known of the judge."""
    rows = [["system", f"holes@{result['depth']}", "relevant", "measure", "before", "after", "corrected"]]
    for system, values in result["before"]["measures"].items():
        by = result["by_system"][system]
        lead = [system, str(by["holes"]), str(by["relevant"])]
        for name in values:
            if name.startswith("Judged@") or "judged_only" in name:  # what filling holes makes meaningless
                continue
            low, high = result["error"].get(system, {}).get(name, (None, None))
            mean = result["corrected"].get(system, {}).get(name)
            bar = "-" if mean is None else f"{mean:.4f} [{low:.4f}, {high:.4f}]"
            rows.append([*lead, name, f"{values[name]:.4f}", f"{result['after']['measures'][system][name]:.4f}", bar])
            lead = ["", "", ""]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    known = result["agreement"]
    told = f"{result['graded']} of {result['holes']} holes were graded"
    if known["pairs"]:
        told += (
            f"; on {known['pairs']} judged passages of the same tops the judge agrees with the assessors in "
            f"{known['relevant']:.0%} (relevant or not; kappa {known['kappa']:.2f}), bias {known['bias']:+.2f} grades"
        )
    return "\n".join([*lines, "", told + "."])
