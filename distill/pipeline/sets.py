"""The evaluation sets of a configuration: their texts and labels by layout, and the lists that are reranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.pipeline.run import Run
from distill.pipeline.sources import collection_of, data_folder, source_files

if TYPE_CHECKING:
    from distill.evaluation.suites.base import Suite

Lists = dict[str, list[tuple[str, float]]]


def suite_of(run: Run, each: Any) -> Suite:
    """An entry of `evaluation.sets`, read. Raises DataError with file and line, ConfigError for a task mteb lacks."""
    from distill.evaluation import suites

    if each.source == "mteb":
        from distill.evaluation.suites.hub import read

        return read(each.path, each.split, each.subset)
    return suites.read(each.kind, data_folder(run, each, each.split), each.split, lambda: collection_of(run, each))


def set_inputs(run: Run, each: Any) -> Any:
    """What an entry is made from: the example's settings, a task's name, or the hashes of its files."""
    if each.source == "example":
        return {"example": run.config.pairs.example, "seed": run.config.seed}
    if each.source == "mteb":
        return {"mteb": each.path, "subset": each.subset}
    if each.source == "pairs":
        return {"pairs": run.data_hash("pairs")}
    from distill.evaluation import suites

    folder = data_folder(run, each, each.split)
    paths = source_files(run, each) if each.kind in suites.BEIR_SHAPED else []
    paths += suites.files(each.kind, folder, each.split)
    paths += [run.base / each.first_stage] if each.first_stage != "bm25" else []
    return run.file_hashes(paths)


def first_stage(run: Run, each: Any, suite: Suite) -> Lists:
    """{query: [(passage, score)]} to rerank, best first: BM25's or those of the user's run, without excluded passages.

    A set's own lists are ranked whole; `depth` cuts the others.
    """
    from distill.files.runs import ranked

    if each.first_stage == "bm25":
        if suite.candidates is not None:
            return _own_lists(run, each, suite, suite.candidates)
        spare = max(map(len, suite.excluded.values()), default=0)
        found = _index(run, each, suite).top(suite.queries, each.depth + spare)
    else:
        from distill.files.runs import read_run

        given = read_run(run.base / each.first_stage)
        if suite.candidates is not None:
            return {q: _given(given.get(q, {}), suite.candidates[q]) for q in suite.queries}
        found = {q: ranked(given[q]) for q in suite.queries if q in given}
    nothing: frozenset[str] = frozenset()
    kept = {q: [row for row in rows if row[0] not in suite.excluded.get(q, nothing)] for q, rows in found.items()}
    return {q: rows[: each.depth] for q, rows in kept.items()}


def _index(run: Run, each: Any, suite: Suite) -> Any:
    from distill.pairs.bm25 import Bm25

    return Bm25(suite.passages, each.language or (run.config.pairs.language if suite.stop_words else "none"))


def _own_lists(run: Run, each: Any, suite: Suite, candidates: Mapping[str, Sequence[str]]) -> Lists:
    """A set's own lists in BM25's order for query and instruction together, as FollowIR's baseline has them."""
    from distill.files.runs import ranked

    index = _index(run, each, suite)
    place = {doc: at for at, doc in enumerate(index.ids)}
    found = {}
    for query, text in suite.queries.items():
        instruction = suite.instructions.get(query)
        scores = index.scores(f"{text} {instruction}" if instruction else text)
        found[query] = ranked({doc: float(scores[place[doc]]) for doc in candidates[query]})
    return found


def _given(scores: Mapping[str, float], candidates: Sequence[str]) -> list[tuple[str, float]]:
    """The candidates by a run's scores; those that it lacks last, in the order of the list."""
    from distill.files.runs import ranked

    known = ranked({doc: scores[doc] for doc in candidates if doc in scores})
    lowest = known[-1][1] if known else 0.0
    return known + [(doc, lowest - at) for at, doc in enumerate((d for d in candidates if d not in scores), 1)]


def texts_of(suite: Suite) -> list[str]:
    """Queries and judged passages: what training must not see."""
    judged = {doc for labels in suite.qrels.values() for doc in labels}
    return [*suite.queries.values(), *(suite.passages[doc] for doc in sorted(judged))]
