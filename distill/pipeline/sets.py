"""The evaluation sets of a configuration: texts and labels by layout, and the lists that are reranked.

Used by the stages pairs, filter and evaluate (training must not see their texts) and by `--judge-unjudged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from distill.pipeline.run import Run
from distill.pipeline.sources import collection_of, data_folder, source_files
from distill.results import Json

if TYPE_CHECKING:
    from distill.evaluation.settings import SetSettings
    from distill.evaluation.suites.base import Suite
    from distill.pairs.bm25 import Bm25

Lists = dict[str, list[tuple[str, float]]]


def suite_of(run: Run, entry: SetSettings) -> Suite:
    """An entry of `evaluation.sets`, read. Raises DataError with file and line, ConfigError for a task mteb lacks."""
    from distill.evaluation import suites

    if entry.source == "mteb":
        from distill.evaluation.suites.hub import read

        return read(entry.path, entry.split, entry.subset)
    return suites.read(entry.kind, data_folder(run, entry, entry.split), entry.split, lambda: collection_of(run, entry))


def set_inputs(run: Run, entry: SetSettings) -> Json:
    """What an entry is made from: the example's settings, a task's name, or the hashes of its files."""
    if entry.source == "example":
        return {"example": run.config.pairs.example, "seed": run.config.seed}
    if entry.source == "mteb":
        return {"mteb": entry.path, "subset": entry.subset}
    if entry.source == "pairs":
        return {"pairs": run.data_hash("pairs")}
    from distill.evaluation import suites

    folder = data_folder(run, entry, entry.split)
    paths = source_files(run, entry) if entry.kind in suites.BEIR_SHAPED else []
    paths += suites.files(entry.kind, folder, entry.split)
    paths += [run.base / entry.first_stage] if entry.first_stage != "bm25" else []
    return run.file_hashes(paths)


def first_stage(run: Run, entry: SetSettings, suite: Suite) -> Lists:
    """{query: [(passage, score)]} to rerank, best first: BM25's or those of the user's run, without excluded passages.

    A set's own lists are ranked whole; `depth` cuts the others.
    """
    from distill.files.runs import ranked

    if entry.first_stage == "bm25":
        if suite.candidates is not None:
            return _own_lists(run, entry, suite, suite.candidates)
        spare = max(map(len, suite.excluded.values()), default=0)
        found = _index(run, entry, suite).top(suite.queries, entry.depth + spare)
    else:
        from distill.files.runs import read_run

        given = read_run(run.base / entry.first_stage)
        if suite.candidates is not None:
            return {q: _given(given.get(q, {}), suite.candidates[q]) for q in suite.queries}
        found = {q: ranked(given[q]) for q in suite.queries if q in given}
    nothing: frozenset[str] = frozenset()
    kept = {q: [row for row in rows if row[0] not in suite.excluded.get(q, nothing)] for q, rows in found.items()}
    return {q: rows[: entry.depth] for q, rows in kept.items()}


def _index(run: Run, entry: SetSettings, suite: Suite) -> Bm25:
    from distill.pairs.bm25 import Bm25

    return Bm25(suite.passages, entry.language or (run.config.pairs.language if suite.stop_words else "none"))


def _own_lists(run: Run, entry: SetSettings, suite: Suite, candidates: Mapping[str, Sequence[str]]) -> Lists:
    """A set's own lists in BM25's order for query and instruction together, as FollowIR's baseline has them."""
    from distill.files.runs import ranked

    index = _index(run, entry, suite)
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


class HeldOut(Mapping[str, Iterable[str]]):
    """By evaluation set, the queries and judged passages that training must not see; read when asked for.

    `made` are those of sets that come from the run's own pairs: they are known only once the pairs are made.
    """

    def __init__(self, run: Run, made: bool = True) -> None:
        self._run = run
        self._sets = {entry.name: entry for entry in run.config.evaluation.sets if made or entry.source != "pairs"}

    def __len__(self) -> int:
        return len(self._sets)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sets)

    def __getitem__(self, name: str) -> Iterable[str]:
        return texts_of(suite_of(self._run, self._sets[name]))

    def inputs(self) -> dict[str, Json]:
        """What the sets are made from, by name."""
        return {name: set_inputs(self._run, entry) for name, entry in self._sets.items()}
