"""Twenty pairs to read before shipping: what the student ranked worst, with its reasons. Called by `build`."""

from __future__ import annotations

from typing import Any

from distill.report.choice import choice
from distill.report.evaluated import EvaluationSet
from distill.report.files import RunFiles
from distill.report.queries import asked, grade_text, judgements, ranking
from distill.report.words import signed
from distill.tables import counted

MAX_QUERIES = 10  # two pairs of each
TOP = 10


def section(files: RunFiles, sets: list[EvaluationSet]) -> dict[str, Any] | None:
    """The pairs of the student that would be shipped, or of the best; None where its rankings are not there.

    Queries with the smallest difference to the first stage come first (without one, those with the lowest value). Of
    each: the relevant passage that lost most places, and the highest passage above it that is not relevant.
    """
    main = next((each for each in sets if each.students and each.primary and each.by_query), None)
    if main is None:
        return None
    system = choice(files, main).system or main.students[0]
    gain = main.difference("first_stage", system, main.by_query)
    values = gain.values if gain else main.per_query(system, main.by_query)
    worst = sorted(values, key=lambda query: values[query])[: 2 * MAX_QUERIES]  # some may have nothing to show
    lists = {name: ranking(files.run, main.name, name, set(worst)) for name in (system, "first_stage")}
    of_pair = judgements(files, main.name, system.removesuffix(".fused"), worst)
    pairs: list[dict[str, Any]] = []
    for query in worst:
        ranks, before = (
            {doc: place for place, (doc, _) in enumerate(lists[name].get(query, []), 1)}
            for name in (system, "first_stage")
        )
        shown = _misplaced(main, query, ranks, before)
        if not shown or len(pairs) >= 2 * MAX_QUERIES:
            continue
        for doc in shown:
            places = [f"rank {ranks[doc]}", *([f"first stage {before[doc]}"] if doc in before else [])]
            grade = main.detail.qrels.get(query, {}).get(doc)
            pairs.append(
                {
                    "query": asked(main, query),
                    "change": f"{signed(values[query])} {main.by_query}" if gain else "",
                    "relevant": grade is not None and grade >= main.detail.relevant_from,
                    "grade": grade_text(main, grade),
                    "places": ", ".join(places),
                    "passage": main.detail.passages.get(doc, "(its text is not in the run folder)"),
                    "judgement": of_pair.get((query, doc)),
                }
            )
    if not pairs:
        return None
    queries = len({pair["query"] for pair in pairs})
    return {"system": system, "pairs": pairs, "of": counted(queries, "query"), "against": gain is not None}


def _misplaced(main: EvaluationSet, query: str, ranks: dict[str, int], before: dict[str, int]) -> list[str]:
    """The relevant passage that lost most places, and the highest passage above it that is not known as relevant."""
    grades = main.detail.qrels.get(query, {})
    relevant = [doc for doc in ranks if grades.get(doc, 0) >= main.detail.relevant_from]
    fallen = max(relevant, key=lambda doc: ranks[doc] - before.get(doc, 0), default=None)
    above = [doc for doc in ranks if doc not in relevant and (fallen is None or ranks[doc] < ranks[fallen])]
    highest = min(above, key=lambda doc: ranks[doc], default=None)
    if highest is None or ranks[highest] > TOP:  # every relevant passage is above all others
        return []
    return [doc for doc in (fallen, highest) if doc is not None]
