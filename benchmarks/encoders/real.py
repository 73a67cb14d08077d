"""Makes the table of docs/encoders.md: small students on real data, first stages and rerankers.

    python benchmarks/real/convert.py                        # the sets, once
    make real-base MODEL=minilm
    python benchmarks/encoders/real.py                       # trains, indexes, ranks, and prints the tables
    python benchmarks/encoders/real.py --only minilm         # no training: MiniLM as it is

Training is one `distill run`, each index and each list is a file below --runs: killed at any moment, the same command
goes on from there. SciFact and Cranfield are searched whole; DL19's corpus is a pool, so there the given run of BM25 is
reranked. Differences are tested against BM25 and against MiniLM as it is: paired, randomised, corrected by Holm.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distill.evaluation.evaluate import evaluate
from distill.evaluation.first_stage import Bm25Lists, HybridLists, Lists, RetrieverLists, of_lists, of_run
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites import read
from distill.evaluation.suites.base import Suite
from distill.evaluation.tables import markdown_table
from distill.files.runs import ranked, read_run, write_run
from distill.pairs.bm25 import Bm25
from distill.pairs.collection import gather
from distill.pairs.sources.beir import Beir
from distill.retrieval.encoder import Encoder, load_encoder
from distill.retrieval.index import build
from distill.store import read_json, write_json

ROOT = Path(__file__).parents[2]
SETS = {"scifact": "beir", "cranfield": "beir", "dl19-passage": "dl19"}
MEASURES = ["nDCG@10", "R@100"]
BM25, ASIS, RETRIEVER, HYBRID = "BM25", "MiniLM as it is", "retriever", "BM25 + retriever"
RERANKED, BOTH = "BM25, then encoder", "retriever, then encoder"
NAMES = {"minilm": ASIS, "retriever": RETRIEVER}
Rankings = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Ranked:
    """One set, with the folder that its lists lie in."""

    name: str
    data: Path
    runs: Path
    models: Mapping[str, Path]
    depth: int

    @cached_property
    def suite(self) -> Suite:
        """Its texts and labels."""
        folder = self.data / self.name
        return read(SETS[self.name], folder, "test", lambda: gather(Beir(folder), "test", 0.01), own_lists=False)

    @property
    def reranked(self) -> bool:
        """Whether the corpus is a pool, on which no retrieval is reported."""
        return self.name == "dl19-passage"

    def entry(self, depth: int) -> SetSettings:
        """As a set of a configuration."""
        return SetSettings(name="set", kind=SETS[self.name], path=str(self.data / self.name), depth=depth)

    def of(self, system: str, make: Callable[[], Rankings]) -> Rankings:
        """A system's ranking: from its file, else made and written."""
        path = self.runs / f"{self.name}.{system.replace(' ', '_').replace(',', '')}.trec"
        if not path.exists():
            started = time.monotonic()
            rankings = make()
            unfinished = path.with_suffix(".unfinished")
            write_run(unfinished, rankings, "list")
            unfinished.rename(path)
            print(f"{self.name}, {system}: {time.monotonic() - started:.0f} s", flush=True)
        return read_run(path)

    def encoder(self, name: str) -> Encoder:
        """A retriever."""
        return load_encoder(str(self.models[name]))

    def dense(self, name: str) -> Lists:
        """A retriever's lists, with its index of the corpus."""
        encoder = self.encoder(name)

        def progress(done: int, total: int) -> None:
            print(f"{self.name}, {name}: {done:,} of {total:,} passages", flush=True)

        folder = self.runs / f"index.{self.name}.{name}"
        return RetrieverLists(self.suite, build(folder, encoder, self.suite.passages, progress), encoder, name)

    def by_similarity(self, name: str, first: Rankings) -> Rankings:
        """The first stage's lists in the order of a retriever's similarities."""
        encoder, texts = self.encoder(name), self.suite
        docs = sorted({doc for scores in first.values() for doc in scores})
        vectors = dict(zip(docs, encoder.passages([texts.passages[doc] for doc in docs]), strict=True))
        queries = encoder.queries([texts.queries[query] for query in first])
        return {
            query: {doc: float(vectors[doc] @ vector) for doc in scores}
            for (query, scores), vector in zip(first.items(), queries, strict=True)
        }

    def by_encoder(self, first: Rankings) -> Rankings:
        """The best of a list in the order of the cross-encoder's scores."""
        from distill.rerank import Reranker

        reranker, texts = Reranker(str(self.models["encoder"])), self.suite
        pairs = [(query, doc) for query, scores in first.items() for doc, _ in ranked(scores)[: self.depth]]
        started = time.monotonic()
        judged = reranker.predict([(texts.queries[query], texts.passages[doc]) for query, doc in pairs])
        print(f"{self.name}: {len(pairs) / (time.monotonic() - started):.0f} pairs/s", flush=True)
        rankings: dict[str, dict[str, float]] = {}
        for (query, doc), judgement in zip(pairs, judged, strict=True):
            rankings.setdefault(query, {})[doc] = float(judgement.margin)
        return rankings

    def systems(self, only: list[str] | None) -> Iterator[tuple[str, Rankings]]:
        """Every system whose model is there."""
        there = [name for name in only or NAMES if (self.models[name] / "modules.json").exists()]
        encoder = only is None and (self.models["encoder"] / "config.json").exists()
        if self.reranked:
            path = self.data / self.name / "runs/BM25.top100.trec"
            bm25 = self.of(BM25, lambda: _lists(of_run(self.suite, self.entry(self.depth), path)))
            yield BM25, bm25
            for name in there:
                yield NAMES[name], self.of(NAMES[name], lambda name=name: self.by_similarity(name, bm25))
        else:
            bm25 = self.of(BM25, lambda: self.top(self.bm25))
            yield BM25, bm25
            for name in there:
                yield NAMES[name], self.of(NAMES[name], lambda name=name: self.top(self.dense(name)))
            if "retriever" in there:
                yield HYBRID, self.of(HYBRID, lambda: self.top(HybridLists(self.bm25, self.dense("retriever"))))
        if encoder:
            yield RERANKED, self.of(RERANKED, lambda: self.by_encoder(bm25))
            if not self.reranked and "retriever" in there:
                yield BOTH, self.of(BOTH, lambda: self.by_encoder(self.of(RETRIEVER, dict)))

    @cached_property
    def bm25(self) -> Lists:
        """BM25's lists."""
        return Bm25Lists(self.suite, Bm25(self.suite.passages))

    def top(self, lists: Lists) -> Rankings:
        """The best hundred of the corpus."""
        return _lists(of_lists(self.suite, self.entry(100), lists))


def _lists(first: Mapping[str, list[tuple[str, float]]]) -> Rankings:
    return {query: dict(rows) for query, rows in first.items()}


def train(runs: Path, data: Path, base: Path, more: list[str]) -> Path:
    """The run of configs/real-retriever.yaml, gone on with."""
    folder = runs / "run"
    targets = f"sft.targets.0.base={base}"
    command = [sys.executable, "-m", "distill.cli", "run", str(ROOT / "configs/real-retriever.yaml"),
               f"pairs.path={data / 'varied'}", targets, *more, "--out", str(folder)]  # fmt: skip
    status = subprocess.run(command, cwd=ROOT, env={**os.environ}).returncode
    if status:
        sys.exit(status)
    return folder / "students"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="key.path=value", help="of the run that trains")
    parser.add_argument("--data", type=Path, default=ROOT / "data/real", metavar="FOLDER")
    parser.add_argument("--base", type=Path, default=ROOT / "models/minilm", metavar="FOLDER")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/real-encoders", metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="no training, and only these next to BM25")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--depth", type=int, default=50, metavar="N", help="passages that the encoder reranks")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the figures as JSON")
    given = parser.parse_intermixed_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    students = given.runs / "run/students"
    if given.only is None:
        students = train(given.runs.resolve(), given.data.resolve(), given.base.resolve(), given.settings)
    models = {"minilm": given.base, **{name: students / name for name in ("retriever", "encoder")}}
    figures = {}
    for name in given.sets:
        one = Ranked(name, given.data, given.runs, models, given.depth)
        rankings = dict(one.systems(given.only))
        measures = MEASURES[:1] if one.reranked else MEASURES
        for baseline in (BM25, ASIS):
            if baseline in rankings:
                result = evaluate(one.suite.qrels, rankings, measures, 0, baseline)
                print(f"\n{name}, against {baseline}\n\n{markdown_table(result)}", flush=True)
                figures[f"{name}, against {baseline}"] = {
                    "measures": result.measures, "intervals": result.intervals,
                    "p": {
                        system: {measure: test.p_holm for measure, test in tests.items()}
                        for system, tests in result.tests.items()
                    },
                }  # fmt: skip
    metrics = read_json(given.runs / "run/metrics.json") or {}
    if given.out is not None:
        write_json(given.out, {"sets": figures, "students": metrics.get("students", {}), "settings": given.settings})


if __name__ == "__main__":
    main()
