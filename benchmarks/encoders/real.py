"""Makes the table of docs/encoders.md: small students on real data, first stages and rerankers.

    python benchmarks/real/convert.py                        # the sets, once
    make real-base MODEL=minilm
    python benchmarks/encoders/real.py                       # trains, indexes, ranks, writes real.json and the table
    python benchmarks/encoders/real.py --only minilm         # no training: MiniLM as it is, printed
    python benchmarks/encoders/real.py --render              # the table from real.json

Each training is one `distill run`, each index, list and scored pair is in a file below --runs: killed at any moment,
the same command goes on from there. SciFact and Cranfield are searched whole; DL19's corpus is a pool, so there the
given run of BM25 is reranked. The weight of a fused row is chosen on queries that it is not applied to, fold by fold,
and folds are pooled by query. Differences are paired and randomised, against BM25 and against MiniLM as it is, and
corrected by Holm over the rows of a set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from distill.evaluation.evaluate import evaluate
from distill.evaluation.first_stage import Bm25Lists, HybridLists, Lists, RetrieverLists, of_lists, of_run
from distill.evaluation.settings import SetSettings
from distill.evaluation.suites import read
from distill.evaluation.suites.base import Suite
from distill.files.qrels import read_qrels
from distill.files.runs import ranked, read_run, write_run
from distill.pairs.bm25 import Bm25
from distill.pairs.collection import gather
from distill.pairs.sources.beir import Beir
from distill.rerank.fusion import choose, fuse
from distill.retrieval.encoder import Encoder, load_encoder
from distill.retrieval.fusion import reciprocal_ranks
from distill.retrieval.index import build
from distill.store import read_json, write_json
from distill.tables import markdown
from distill.texts import first_words

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/real-encoders.yaml"
FIGURES = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs/encoders.md"
CAUSAL = ROOT / "benchmarks/real/B.json"
SETS = {"scifact": "beir", "cranfield": "beir", "dl19-passage": "dl19"}
TITLES = {"scifact": "SciFact", "cranfield": "Cranfield", "dl19-passage": "DL19, reranked"}
DEPTHS = {"scifact": 10, "cranfield": 20, "dl19-passage": 50}  # passages that encoders rerank; abstracts are long
MEASURES = ["nDCG@10", "R@100"]
BM25, ASIS, RETRIEVER, HYBRID = "BM25", "MiniLM as it is", "retriever", "BM25 + retriever"
ENCODER, BOTH, FUSED = "encoder", "retriever, then encoder", "BM25 + retriever + encoder, fused"
OWN, OWN_FUSED = "encoder, then DL19's own queries", "the same + retriever, fused"
BASES = {"minilm": ASIS, "retriever": RETRIEVER}
FOLDS = 5
QUERIES = 1_200  # of the 4,000 that the encoders are trained on: each takes a quarter of an hour of one core
DL19_PAIRS = 800  # of some 6,000 judged ones of a fold
READ = 256  # tokens of a text that a bi-encoder reads in use; it is trained on 128
CUT = 120  # words of a passage that the cross-encoders are trained on and score
CHUNK = 64  # pairs that are scored between two writes
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

    @property
    def measures(self) -> list[str]:
        """What is reported."""
        return MEASURES[:1] if self.reranked else MEASURES

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
        """A bi-encoder, reading READ tokens."""
        loaded = load_encoder(str(self.models[name]))
        loaded.encoder.model.max_seq_length = READ  # type: ignore[attr-defined]
        return loaded

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

    @cached_property
    def bm25(self) -> Lists:
        """BM25's lists."""
        return Bm25Lists(self.suite, Bm25(self.suite.passages))

    def top(self, lists: Lists) -> Rankings:
        """The best hundred of the corpus."""
        return _lists(of_lists(self.suite, self.entry(100), lists))

    def first_stages(self, only: Iterable[str]) -> dict[str, Rankings]:
        """BM25, the bi-encoders of these that are there, and both fused."""
        there = [name for name in only if (self.models[name] / "modules.json").exists()]
        if self.reranked:
            path = self.data / self.name / "runs/BM25.top100.trec"
            bm25 = self.of(BM25, lambda: _lists(of_run(self.suite, self.entry(self.depth), path)))
            made = {
                BASES[name]: self.of(BASES[name], lambda name=name: self.by_similarity(name, bm25)) for name in there
            }
            if RETRIEVER in made:
                made[HYBRID] = {
                    query: dict(reciprocal_ranks([ranked(bm25[query]), ranked(scores)]))
                    for query, scores in made[RETRIEVER].items()
                }
            return {BM25: bm25, **made}
        made = {BM25: self.of(BM25, lambda: self.top(self.bm25))}
        for name in there:
            made[BASES[name]] = self.of(BASES[name], lambda name=name: self.top(self.dense(name)))
        if RETRIEVER in made:
            made[HYBRID] = self.of(HYBRID, lambda: self.top(HybridLists(self.bm25, self.dense("retriever"))))
        return made

    def scored(self, model: str, first: Rankings, known: Iterable[str] | None = None) -> Rankings:
        """{query: {passage: margin}} of the best of each list, of the queries `known` alone where they are given.

        Scored pairs are kept in a file; the best of every list come first, so that more depth goes on from less.
        """
        rows = {query: ranked(scores)[: self.depth] for query, scores in first.items()}
        asked = [query for query in rows if known is None or query in set(known)]
        due = [(query, rows[query][at][0]) for at in range(self.depth) for query in asked if at < len(rows[query])]
        path = self.scores_path(model)
        found = {(row["query"], row["doc"]): row["margin"] for row in _whole_lines(path)}
        missing = [pair for pair in due if pair not in found]
        if missing:
            from distill.rerank import Reranker

            reranker, texts = Reranker(str(self.models[model]), calibration=None), self.suite
            with open(path, "a", encoding="utf-8") as out:
                for start in range(0, len(missing), CHUNK):
                    chunk = missing[start : start + CHUNK]
                    began = time.monotonic()
                    judged = reranker.predict(
                        [(texts.queries[query], first_words(texts.passages[doc], CUT)) for query, doc in chunk]
                    )
                    seconds = (time.monotonic() - began) / len(chunk)
                    for (query, doc), judgement in zip(chunk, judged, strict=True):
                        found[query, doc] = float(judgement.margin)
                        row = {"query": query, "doc": doc, "margin": found[query, doc], "seconds": seconds}
                        out.write(json.dumps(row) + "\n")
                    out.flush()
                    print(f"{self.name}, {model}: {start + len(chunk):,} of {len(missing):,} pairs", flush=True)
        margins: dict[str, dict[str, float]] = {}
        for query, doc in due:
            margins.setdefault(query, {})[doc] = found[query, doc]
        return margins

    def scores_path(self, model: str) -> Path:
        """The file of a model's scored pairs."""
        return self.runs / f"{self.name}.{model}.scores.jsonl"

    def pairs_per_s(self, model: str) -> float | None:
        """How fast they were scored, the machine's other work included."""
        seconds = [row["seconds"] for row in _whole_lines(self.scores_path(model))]
        return round(len(seconds) / sum(seconds), 1) if seconds else None

    def fold(self, part: str, number: int) -> set[str]:
        """The queries of a fold's part."""
        return set(read_qrels(self.data / self.name / f"qrels/{part}-{number}of{FOLDS}.tsv"))

    def fused(
        self, margins: Rankings, first: Rankings, part: str = "rest"
    ) -> tuple[dict[str, dict[str, float]], list[float]]:
        """(margins fused with the first stage's scores, each fold's weight of the first stage).

        A fold's weight is chosen on the queries of its `part`, none of which is in its test part.
        """
        made, weights = {}, []
        for number in range(FOLDS):
            chosen_on = self.fold(part, number)
            weight = choose({q: margins[q] for q in margins if q in chosen_on}, first, self.suite.qrels).weight
            weights.append(weight)
            for query in self.fold("test", number) & set(margins):
                made[query] = fuse(margins[query], first.get(query, {}), weight)
        return made, weights

    def rows(self) -> Iterator[tuple[str, Rankings, dict[str, Any]]]:
        """(each system, its ranking, more to report of it)."""
        first = self.first_stages(BASES)
        for name, ranking in first.items():
            yield name, ranking, {}
        hybrid = first[HYBRID]
        if self.reranked:
            for loss in ("bce", "listwise"):
                model = f"encoder_{loss}"
                margins = self.scored(model, first[BM25])
                yield f"{ENCODER} ({loss})", margins, {"pairs_per_s": self.pairs_per_s(model)}
            for name, stage in (("retriever + encoder, fused", first[RETRIEVER]), (FUSED, hybrid)):
                made, weights = self.fused(margins, stage)
                yield name, made, {"weights": weights}
            own: dict[str, Mapping[str, float]] = {}
            folds: dict[str, dict[str, float]] = {}
            weights = []
            for number in range(FOLDS):
                tested, dev = self.fold("test", number), self.fold("dev", number)
                scores = self.scored(f"dl19-{number}of{FOLDS}", first[BM25], tested | dev)
                weight = choose({q: scores[q] for q in scores if q in dev}, first[RETRIEVER], self.suite.qrels).weight
                weights.append(weight)
                for query in tested & set(scores):
                    own[query] = scores[query]
                    folds[query] = fuse(scores[query], first[RETRIEVER][query], weight)
            yield OWN, own, {}
            yield OWN_FUSED, folds, {"weights": weights}
            return
        margins = self.scored("encoder_listwise", hybrid)
        speed = {"pairs_per_s": self.pairs_per_s("encoder_listwise")}
        yield "BM25 + retriever, then encoder", _with_rest(margins, hybrid), speed
        made, weights = self.fused(margins, hybrid)
        yield FUSED, _with_rest(made, hybrid), {"weights": weights}


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file whose last line may be cut by a kill; that line is taken off the file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def _with_rest(reranked: Rankings, first: Rankings) -> Rankings:
    """A list's reranked best, then the rest of it in its own order."""
    made = {}
    for query, scores in first.items():
        top = reranked.get(query, {})
        rest = [doc for doc, _ in ranked(scores) if doc not in top]
        lowest = min(top.values(), default=0.0)
        made[query] = {**top, **{doc: lowest - at for at, doc in enumerate(rest, 1)}}
    return made


def _lists(first: Mapping[str, list[tuple[str, float]]]) -> Rankings:
    return {query: dict(rows) for query, rows in first.items()}


def train(runs: Path, data: Path, base: Path, more: list[str]) -> dict[str, Path]:
    """{name: folder} of every student; those that are not there are trained, or gone on with."""
    retriever, encoder = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["sft"]["targets"]
    varied = [f"pairs.path={data / 'varied'}"]
    two = [
        {**encoder, "name": "encoder_bce", "loss": "bce", "base": str(base),
         "training": {**encoder["training"], "per_device_train_batch_size": 32, "save_steps": 50}},
        {**encoder, "name": "encoder_listwise", "base": str(base)},
    ]  # fmt: skip
    models = _trained(runs / "retriever", [{**retriever, "base": str(base)}], [*varied, *more])
    models |= _trained(runs / "encoders", two, [*varied, f"pairs.queries={QUERIES}", *more])
    tuned = {**encoder, "name": "encoder", "base": str(models["encoder_listwise"]), "train_size": DL19_PAIRS,
             "training": {**encoder["training"], "per_device_train_batch_size": 2}}  # fmt: skip
    for number in range(FOLDS):
        name = f"dl19-{number}of{FOLDS}"
        judged = [f"pairs.path={data / 'dl19-passage'}", f"pairs.split=train-{number}of{FOLDS}",
                  "pairs.relevant_from=2", "pairs.negatives=none"]  # fmt: skip
        models[name] = _trained(runs / name, [tuned], [*judged, *more])["encoder"]
    return models


def _trained(folder: Path, targets: list[dict[str, Any]], settings: list[str]) -> dict[str, Path]:
    made = {name: folder / "students" / name for name in (target.get("name", target["target"]) for target in targets)}
    if not all((path / "distill.json").exists() for path in made.values()):
        command = [sys.executable, "-m", "distill.cli", "run", str(CONFIG), f"name={folder.name}", *settings,
                   f"sft.targets={json.dumps(targets)}", "--out", str(folder)]  # fmt: skip
        if status := subprocess.run(command, cwd=ROOT).returncode:
            sys.exit(status)
    return made


def minutes(models: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """{student: its training's minutes, tokens/s and rows}; of DL19's folds all together."""
    made: dict[str, dict[str, float]] = {}
    for name, folder in models.items():
        counts = read_json(folder / "result.json")
        if counts is not None:
            row = made.setdefault("dl19 folds" if name.startswith("dl19-") else name, {"minutes": 0, "rows": 0})
            row["minutes"] = round(row["minutes"] + counts["seconds"] / 60, 1)
            row["rows"] += counts["examples"]
    return made


def measured(one: Ranked, rows: list[tuple[str, Rankings, dict[str, Any]]]) -> dict[str, Any]:
    """The figures of one set, as they go into the JSON."""
    rankings = {name: ranking for name, ranking, _ in rows}
    results = {
        baseline: evaluate(one.suite.qrels, rankings, one.measures, 0, baseline)
        for baseline in (BM25, ASIS)
        if baseline in rankings
    }
    of_bm25 = results[BM25]
    return {
        name: {
            "measures": {measure: round(value, 4) for measure, value in of_bm25.measures[name].items()},
            "intervals": {
                measure: [round(bound, 4) for bound in of_bm25.intervals[name][measure]] for measure in one.measures
            },
            "p": {
                baseline: {measure: round(test.p_holm, 4) for measure, test in result.tests.get(name, {}).items()}
                for baseline, result in results.items()
            },
            **more,
        }
        for name, _, more in rows
    }


def table(made: Mapping[str, Any]) -> str:
    """The table of docs/encoders.md."""
    rows = []
    for name, systems in made["sets"].items():
        title = TITLES[name]
        best = max(figures["measures"]["nDCG@10"] for figures in systems.values())
        for system, figures in systems.items():
            value = figures["measures"]["nDCG@10"]
            low, high = figures["intervals"]["nDCG@10"]
            shown = f"**{_short(value)}**" if value == best else _short(value)
            recall = figures["measures"].get("R@100")
            speed = figures.get("pairs_per_s")
            rows.append([
                title, system, f"{shown} [{_short(low)}, {_short(high)}]", _short(recall) if recall else "",
                *(_p(figures, baseline, systems[baseline]["measures"]["nDCG@10"]) for baseline in (BM25, ASIS)),
                f"{speed:g}" if speed else "",
            ])  # fmt: skip
            title = ""
        if name == "dl19-passage":
            causal = made["direct"]
            low, high = causal["interval"]
            rows.append([
                "", f"SmolLM2-135M, `direct`, {causal['row']}",
                f"{_short(causal['value'])} [{_short(low)}, {_short(high)}]", "", "", "", f"{causal['pairs_per_s']:g}",
            ])  # fmt: skip
    head = ["set", "system", "nDCG@10", "R@100", "p against BM25", "against MiniLM as it is", "pairs/s"]
    trained = [[student, f"{row['rows']:,}", f"{row['minutes']:g}"] for student, row in made["training"].items()] + [
        ["SmolLM2-135M, `direct`", f"{made['direct']['rows']:,}", f"{made['direct']['minutes']:g}"]
    ]
    return f"{markdown(head, rows)}\n\n{markdown(['student', 'rows', 'training, minutes'], trained)}"


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _p(figures: Mapping[str, Any], baseline: str, against: float) -> str:
    value = figures["p"][baseline].get("nDCG@10")
    if value is None:
        return ""
    lower = ", lower" if value < 0.05 and figures["measures"]["nDCG@10"] < against else ""
    return ("< .001" if value < 0.001 else _short(value)) + lower


def causal() -> dict[str, Any]:
    """The student `direct` of SmolLM2 on DL19, as benchmarks/real/run.py measured it."""
    for one in json.loads(CAUSAL.read_text(encoding="utf-8"))["tables"]:
        for row in one["systems"]:
            if one["set"] == "dl19" and row["system"] == "direct":
                return {
                    "row": one["row"], "value": row["measures"]["nDCG@10"], "interval": row["intervals"]["nDCG@10"],
                    "minutes": row["training_minutes"], "rows": row["rows"],
                    "pairs_per_s": round(1 / row["seconds_per_pair"], 1),
                }  # fmt: skip
    raise SystemExit(f"{CAUSAL}: has no row of direct on dl19; run `python benchmarks/real/run.py B` first")


def render(made: Mapping[str, Any]) -> None:
    """Write the table between its marks on the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- real.json -->\n")
    PAGE.write_text(f"{before}{mark}{table(made)}\n{rest[rest.index('<!-- end -->') :]}", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="key.path=value", help="of the runs that train")
    parser.add_argument("--data", type=Path, default=ROOT / "data/real", metavar="FOLDER")
    parser.add_argument("--base", type=Path, default=ROOT / "models/minilm", metavar="FOLDER")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/real-encoders", metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=BASES, help="no training: print these next to BM25")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--render", action="store_true", help="only write the table from the JSON")
    parser.add_argument("--out", type=Path, default=FIGURES, metavar="FILE", help="the figures as JSON")
    given = parser.parse_intermixed_args()
    if given.render:
        return render(read_json(given.out) or sys.exit(f"{given.out}: is not there; leave --render out"))
    import torch

    torch.set_num_threads(given.threads)
    runs, data, base = (path.resolve() for path in (given.runs, given.data, given.base))
    runs.mkdir(parents=True, exist_ok=True)
    models = {"minilm": base, "retriever": runs / "retriever/students/retriever"}
    if given.only is None:
        models |= train(runs, data, base, given.settings)
    made = read_json(given.out) or {} if given.only is None else {}
    figures = dict(made.get("sets", {}))
    for name in given.sets:
        one = Ranked(name, data, runs, models, DEPTHS[name])
        rows = [(*row, {}) for row in one.first_stages(given.only).items()] if given.only else list(one.rows())
        figures[name] = measured(one, rows)
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
    if given.only is None:
        ordered = {name: figures[name] for name in SETS if name in figures}
        made = {
            "depths": DEPTHS, "queries": QUERIES, "settings": given.settings, "sets": ordered,
            "training": minutes(models), "direct": causal(),
        }  # fmt: skip
        write_json(given.out, made)
        if given.out == FIGURES:
            render(made)


if __name__ == "__main__":
    main()
