"""The evaluation sets of a configuration: texts and labels by layout, and the lists that are reranked.

Used by the stages pairs, filter and evaluate (training must not see their texts) and by `--judge-unjudged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill.files import READING
from distill.inputs import input_path
from distill.pipeline import refresh
from distill.pipeline.run import Run
from distill.pipeline.sources import collection_of, data_folder, source_files
from distill.results import Json
from distill.store import fingerprint

if TYPE_CHECKING:
    from distill.evaluation.first_stage import FirstStage, RetrieverLists
    from distill.evaluation.settings import SetSettings
    from distill.evaluation.suites.base import Suite

INDEXES = "indexes"  # of retrievers, a folder each, in the run's folder
DECIDE_TEXTS = {"kind", "files", "columns", "split", "subset", "queries", "missing"}  # of a set's settings


def suite_of(run: Run, entry: SetSettings) -> Suite:
    """An entry of `evaluation.sets`, read. Raises DataError with file and line, ConfigError for a task mteb lacks."""
    from distill.evaluation import suites

    if entry.source == "mteb":
        from distill.evaluation.suites.hub import read

        return read(entry.path, entry.split, entry.subset, entry.missing)
    folder, own_lists = data_folder(run, entry, entry.split), entry.source == "beir"
    return suites.read(
        entry.kind, folder, entry.split, lambda: collection_of(run, entry), own_lists, entry.missing, run.base
    )


def set_inputs(run: Run, entry: SetSettings) -> Json:
    """What an entry is made from: the example's settings, a task's name, or the hashes of its files."""
    if entry.source == "example":
        return {"example": run.config.pairs.example, "seed": run.config.seed}
    if entry.source == "mteb":
        return {"mteb": entry.path, "subset": entry.subset}
    if entry.source == "pairs":
        passages = run.file_hashes(source_files(run, run.config.pairs)) if run.config.pairs.source != "example" else {}
        return {"pairs": run.data_hash("pairs"), **passages, "reading": READING}
    from distill.evaluation import suites

    folder = data_folder(run, entry, entry.split)
    paths = source_files(run, entry) if suites.is_beir_shaped(entry.kind, run.base) else []
    paths += suites.files(entry.kind, folder, entry.split, run.base)
    paths += _first_stage_files(run, entry)
    return {**run.file_hashes(paths), "reading": READING, **refresh.inputs(run)}


def first_stage(run: Run, entry: SetSettings, suite: Suite) -> FirstStage:
    """The lists to rerank: BM25's, a retriever's, both fused, or those of the user's run; `depth` cuts them, but never
    a set's own lists."""
    from distill.evaluation.first_stage import Bm25Lists, HybridLists, of_lists, of_run
    from distill.pairs.bm25 import Bm25

    def bm25() -> Bm25Lists:
        language = entry.language or (run.config.pairs.language if suite.stop_words else "none")
        return Bm25Lists(suite, Bm25(suite.passages, language))

    named = entry.first_stage
    if named == "bm25":
        return of_lists(suite, entry, bm25())
    if isinstance(named, str):
        return of_run(suite, entry, input_path(run.base, named))
    lists = _retriever(run, entry, named.model, suite)
    return of_lists(suite, entry, HybridLists(bm25(), lists) if named.hybrid else lists)


def retriever_path(run: Run, model: str) -> str:
    """The folder or hub name of a retriever that a first stage names."""
    if model in [student.name for student in run.config.sft.targets]:
        return str(run.students / model)
    return str(run.base / model) if (run.base / model).is_dir() else model


def _retriever(run: Run, entry: SetSettings, model: str, suite: Suite) -> RetrieverLists:
    """The retriever with its index of the set's corpus, in INDEXES of the run's folder; another's is made anew."""
    from distill.evaluation.first_stage import RetrieverLists
    from distill.retrieval.encoder import load_encoder
    from distill.retrieval.index import build, corpus_hash

    encoder = load_encoder(retriever_path(run, model), key=f"evaluation.sets, {entry.name}, first_stage")
    name = fingerprint([encoder.identity, corpus_hash(suite.passages)])[:16]

    def progress(done: int, total: int) -> None:
        run.say(f"  {entry.name}: {model} has encoded {done:,} of {total:,} passages")

    return RetrieverLists(suite, build(run.folder / INDEXES / name, encoder, suite.passages, progress), encoder, model)


def _first_stage_files(run: Run, entry: SetSettings) -> list[Path]:
    """The files that a set's first stage is made from; a student's are an input of the evaluation anyhow."""
    named = entry.first_stage
    if named == "bm25":
        return []
    if isinstance(named, str):
        return [input_path(run.base, named)]
    folder = run.base / named.model
    own = named.model in [student.name for student in run.config.sft.targets]
    return [] if own or not folder.is_dir() else sorted(path for path in folder.rglob("*") if path.is_file())


def texts_of(suite: Suite) -> list[str]:
    """Queries and judged passages: what training must not see."""
    judged = {doc for labels in suite.qrels.values() for doc in labels}
    return [*suite.queries.values(), *(suite.passages[doc] for doc in sorted(judged) if doc in suite.passages)]


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

    def read_as(self) -> dict[str, Json]:
        """The settings that decide which texts of its files a set holds, by name, where they are not the defaults."""
        cut = self._run.config.pairs.model_dump(mode="json", include={"cut_words"}, exclude_defaults=True)
        values = {
            name: entry.model_dump(mode="json", include=DECIDE_TEXTS, exclude_defaults=True) | cut
            for name, entry in self._sets.items()
        }
        return {name: changed for name, changed in values.items() if changed}
