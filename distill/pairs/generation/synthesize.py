"""Queries that the teacher writes for passages, kept where they lead back to the passage. Called by the builder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distill.pairs.analysis import Analysis
from distill.pairs.bm25 import Bm25
from distill.pairs.clean import Usable
from distill.pairs.generation.judge import grades
from distill.pairs.generation.prompting import filled, read_texts
from distill.pairs.generation.questions import contents
from distill.pairs.generation.settings import JudgeSettings, SynthesisSettings
from distill.pairs.split import signature
from distill.records import Ask

LONGEST = 1000  # characters of a query


@dataclass(frozen=True, slots=True)
class WrittenQuery:
    """A query that the teacher wrote for a passage; `grade` is what it then gave the passage, None where not asked."""

    query_id: str
    text: str
    doc_id: str
    kind: str
    grade: int | None


def write_queries(
    passages: Mapping[str, str],
    usable: Usable,
    settings: SynthesisSettings,
    judge: JudgeSettings,
    ask: Ask,
    seed: int,
    bm25: Callable[[], Bm25],
    language: str,
    counts: Counter[str],
) -> list[WrittenQuery]:
    """The queries that came back. Counted: `written`, and those left out: `repeated`, `not found`, `not relevant`."""
    unique = sorted(key for key in passages if key not in usable.bad and key not in usable.first_of)
    rng = random.Random(f"synthesize:{seed}")
    chosen = sorted(rng.sample(unique, min(settings.passages, len(unique))))
    kinds = {key: _kinds(f"{seed}:{key}", settings) for key in chosen}
    prompts = ((key, filled("queries", kinds=", ".join(kinds[key]), passage=passages[key])) for key in chosen)
    analysis, seen = Analysis(language), set[str]()
    drafts: list[WrittenQuery] = []
    for doc_id, texts in contents(ask, settings, "query", prompts, counts).items():
        queries = [query for text in texts for query in read_texts(text, "queries", LONGEST)]
        counts["no query"] += not queries
        for number, query in enumerate(queries):
            counts["written"] += 1
            mark = signature(query, analysis)
            if mark in seen:
                counts["repeated"] += 1
                continue
            seen.add(mark)
            kind = kinds[doc_id][number % len(kinds[doc_id])]
            drafts.append(WrittenQuery(f"{doc_id}~{number}", query, doc_id, kind, None))
    if settings.found_within is not None and drafts:
        top = bm25().top({draft.query_id: draft.text for draft in drafts}, settings.found_within)
        same = usable.same
        found_again = [d for d in drafts if d.doc_id in {same(doc) for doc, _ in top[d.query_id]}]
        counts["not found"] += len(drafts) - len(found_again)
        drafts = found_again
    if not settings.judged:
        return drafts
    items = ((draft.query_id, (draft.text, None, passages[draft.doc_id])) for draft in drafts)
    grade_of = grades(ask, judge, items, counts, "round trip")
    kept = []
    for draft in drafts:
        grade = grade_of[draft.query_id]
        if grade is None or grade < judge.relevant_from:
            counts["not relevant"] += 1
        else:
            kept.append(WrittenQuery(draft.query_id, draft.text, draft.doc_id, draft.kind, grade))
    return kept


def _kinds(seed: str, settings: SynthesisSettings) -> list[str]:
    """Kinds for one passage, drawn by their weights; none twice while there are others."""
    rng = random.Random(f"kinds:{seed}")
    weights: dict[str, float] = {}
    drawn: list[str] = []
    for _ in range(settings.per_passage):
        weights = weights or {kind: weight for kind, weight in settings.kinds.items() if weight > 0}
        (kind,) = rng.choices(list(weights), list(weights.values()))
        drawn.append(kind)
        del weights[kind]
    return drawn
