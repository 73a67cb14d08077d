"""Query by query: where one system wins and where it loses, with both rankings and the student's reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.files.runs import ranked, read_run
from distill.records import Judgement
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.plots import waterfall
from distill.report.words import colours, count, measure_label, safe_name
from distill.results import BASELINES

MAX_QUERIES = 60
MAX_LISTED = 3000  # further queries, listed with their values and without rankings
MAX_SYSTEMS = 4
TOP = 10
FORCED = {  # how a reasoning ended whose verdict was forced
    "length": "reasoning cut off",
    "budget": "reasoning cut off at its budget",
    "no_end": "ended without </think>",
    "looped": "repeated itself",
}
YES_OR_NO = {True: "relevant", False: "not relevant"}


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """Waterfalls and the list of queries by set; None where no set has per-query values."""
    shown = [s for s in sets if s.students and s.by_query and s.per_query(s.students[0], s.by_query)]
    found = [_one(files, each, max(10, MAX_QUERIES // len(shown))) for each in shown]
    return {"sets": found, "top": TOP} if found else None


def _one(files: RunFiles, each: EvaluationSet, limit: int) -> dict[str, Any]:
    right = each.students[0]
    left = each.rivals[-1] if each.rivals else right
    systems = _systems(each, left, right)
    values = {system: each.per_query(system, each.by_query) for system in systems}
    difference = each.difference(left, right, each.by_query)
    order = sorted(difference.values, key=lambda q: -difference.values[q]) if difference else sorted(values[right])
    chosen, rule = _chosen(order, limit)
    rankings = {system: ranking(files.run, each.name, system, set(chosen)) for system in systems}
    reasons = {system: judgements(files, each.name, system, chosen) for system in systems if system != "first_stage"}
    paint = colours(list(each.measures))
    return {
        "name": each.name,
        "primary": measure_label(each.by_query or ""),
        "left": left,
        "right": right,
        "systems": [(system, paint.get(system, 9)) for system in systems],
        "waterfalls": [w for rival in each.rivals if (w := _waterfall(each, rival, right))],
        "left_out": rule,
        "others": [
            {
                "text": asked(each, query),
                "values": {system: values[system].get(query) for system in systems},
                "difference": difference.values.get(query, 0.0) if difference else 0.0,
            }
            for query in [query for query in order if query not in set(chosen)][:MAX_LISTED]
        ],
        "queries": [
            {
                "id": query,
                "text": asked(each, query),
                "values": {system: values[system].get(query) for system in systems},
                "difference": difference.values.get(query, 0.0) if difference else 0.0,
                "rankings": [
                    (system, paint.get(system, 9), _rows(each, query, system, rankings, reasons)) for system in systems
                ],
            }
            for query in chosen
        ],
    }


def grade_text(each: EvaluationSet, grade: float | None) -> str:
    """The grade of a passage in words; of a set whose highest grade is 1, whether it is relevant."""
    if grade is None:
        return "unjudged"
    return f"grade {grade:g}" if each.graded else YES_OR_NO[grade >= each.detail.relevant_from]


def asked(each: EvaluationSet, query: str) -> str:
    """The query, and its instruction where it has one."""
    text = str(each.detail.queries.get(query, query))
    instruction = each.detail.instructions.get(query)
    return f"{text} — {instruction}" if instruction else text


def _systems(each: EvaluationSet, left: str, right: str) -> list[str]:
    """At most four: the two compared, the first stage, the best others; the untrained one only for want of others."""
    wanted = [left, right, "first_stage", *each.students, "untrained"]
    found = [s for s in dict.fromkeys(wanted) if s in each.measures and each.per_query(s, each.by_query)][:MAX_SYSTEMS]
    return sorted(found, key=[*BASELINES, *reversed(each.students)].index)


def _chosen(order: list[str], limit: int) -> tuple[list[str], str]:
    """The queries that are embedded, and what is said of those that are not."""
    if len(order) <= limit:
        return order, ""
    third = limit // 3
    middle = order[third:-third]
    step = len(middle) / (limit - 2 * third)
    between = [middle[int(at * step)] for at in range(limit - 2 * third)]
    rule = (
        f"Shown are {limit} of {count(len(order))} queries: the {third} largest gains, the {third} largest losses and "
        f"{limit - 2 * third} evenly spaced between. The search finds the others, with their values."
    )
    return [*order[:third], *between, *order[-third:]], rule


def _waterfall(each: EvaluationSet, left: str, right: str) -> dict[str, Any] | None:
    """How all queries differ, the largest gain first, as a chart and in numbers."""
    difference = each.difference(left, right, each.by_query)
    if difference is None:
        return None
    chart = waterfall(list(difference.values.values()), f"{measure_label(each.by_query or '')}, difference")
    return {"left": left, "right": right, "difference": difference, "chart": chart}


def ranking(run: Path, set_name: str, system: str, queries: set[str]) -> dict[str, list[tuple[str, float]]]:
    """{query: [(document, score)]}, best first, out of a TREC run; all documents, since ranks are compared."""
    path = run / "evaluation" / f"{set_name}.{system}.trec"
    if not safe_name(f"{set_name}.{system}") or not path.is_file():
        return {}
    try:
        return {query: ranked(scores) for query, scores in read_run(path, queries).items()}
    except DataError:  # damaged: the page says that there is no list
        return {}


def judgements(files: RunFiles, set_name: str, system: str, queries: list[str]) -> dict[tuple[str, str], Judgement]:
    name = f"{set_name}.{system}"
    if not safe_name(name):
        return {}
    import pyarrow.compute as pc

    rows = files.select(f"evaluation/{name}", Judgement, pc.field("query_id").isin(queries))
    return {(row.query_id, row.doc_id): row for row in rows}


def _rows(
    each: EvaluationSet,
    query: str,
    system: str,
    rankings: dict[str, dict[str, list[tuple[str, float]]]],
    judged: dict[str, dict[tuple[str, str], Judgement]],
) -> list[dict[str, Any]]:
    passages, qrels = each.detail.passages, each.detail.qrels.get(query, {})
    first = {doc: at for at, (doc, _) in enumerate(rankings.get("first_stage", {}).get(query, []), 1)}
    rows = []
    for rank, (doc, _) in enumerate(rankings[system].get(query, [])[:TOP], 1):
        judgement, grade = judged.get(system, {}).get((query, doc)), qrels.get(doc)
        rows.append(
            {
                "rank": rank,
                "moved": first[doc] - rank if system != "first_stage" and doc in first else None,
                "kind": "unjudged" if grade is None else "hit" if grade >= each.detail.relevant_from else "miss",
                "label": grade_text(each, grade),
                "passage": passages.get(doc, "(its text is not in the run folder)"),
                "judgement": judgement,
                "forced": FORCED.get(judgement.finish_reason, "") if judgement else "",
            }
        )
    return rows
