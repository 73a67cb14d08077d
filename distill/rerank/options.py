"""Options of `distill rerank`, `calibrate`, `sweep` and `serve`, and what they name: a student and its pairs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distill.commands import FILE, INPUT, MODEL, collected
from distill.files.gaps import MISSING
from distill.tables import counted_phrase

if TYPE_CHECKING:
    from distill.records import Pair
    from distill.rerank.jobs import Student
    from distill.rerank.modes import Mode
    from distill.rerank.repetition import Loops
    from distill.rerank.settings import Dtype
    from distill.rerank.student_format import Long

MODES = ("think", "direct", "verdict_first", "budget", "adaptive")
# Of the student that mode adaptive asks first: wherever the other one runs, it runs here, by the weights' own backend.
LOCAL: dict[str, Any] = {
    "backend": "auto", "base_url": None, "api_key_env": None, "engine": (), "prompt": None, "max_new_tokens": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a student is run."""

    backend: str
    base_url: str | None
    api_key_env: str | None
    device: str | None
    batch: int | None
    dtype: Dtype
    actors: int | None
    max_new_tokens: int | None
    budget: int
    loops: Loops
    long: Long
    engine: tuple[str, ...]
    prompt: str | None

    def student(
        self,
        model: str,
        mode: Mode,
        *,
        calibration: str | None = None,
        samples: int = 1,
        temperature: float = 0.6,
        explanations: bool = False,
        first: str | None = None,
    ) -> Student:
        """The student, asked so, `first` before it in mode adaptive; nothing is loaded yet.

        Raises InputError for settings that cannot be.
        """
        from distill.config import apply_overrides
        from distill.rerank.backends import backend_name
        from distill.rerank.jobs import Student
        from distill.rerank.reranker import check_arguments
        from distill.rerank.settings import ScoringSettings

        check_arguments(mode, self.long, samples, temperature, self.max_new_tokens, self.budget, self.batch)
        backend_name(self.backend, self.base_url)
        return Student(
            model,
            mode,
            ScoringSettings.model_construct(
                backend=self.backend,
                batch=self.batch,
                dtype=self.dtype,
                actors=self.actors,
                loops=self.loops,
                base_url=self.base_url,
                api_key_env=self.api_key_env,
                engine=apply_overrides({}, self.engine),
            ),
            max_new_tokens=self.max_new_tokens,
            budget=self.budget,
            samples=samples,
            temperature=temperature,
            explanations=explanations,
            long=self.long,
            prompt=self.prompt,
            calibration=calibration,
            device=self.device,
            first=replace(self, **LOCAL).student(first, "direct") if first else None,
        )


engine_options = collected(
    "engine",
    EngineOptions,
    click.option("--backend", default="auto", metavar="NAME", help="auto, transformers, vllm, openai or FILE.py:Class"),
    click.option("--base-url", metavar="URL", help="backend openai: the server, such as http://127.0.0.1:8000/v1"),
    click.option("--api-key-env", metavar="NAME", help="backend openai: the variable that holds the key"),
    click.option("--device", metavar="NAME", help="backend transformers: cpu, cuda, mps (default: the best)"),
    click.option("--batch", type=int, metavar="N", help="rows in one batch (default: by the device)"),
    click.option(
        "--dtype",
        type=click.Choice(("auto", "float32", "bfloat16", "float16")),
        default="auto",
        help="of the weights (default: by the machine)",
    ),
    click.option(
        "--actors", type=int, metavar="N", help="processes, or Ray actors on a cluster (default: by the machine)"
    ),
    click.option(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help="bound on reasoning tokens (default: twice the student's longest training trace, 8192 where unknown)",
    ),
    click.option("--budget", type=int, default=256, metavar="N", help="mode budget: reasoning tokens (default 256)"),
    click.option(
        "--loops",
        type=click.Choice(("stop", "run")),
        default="stop",
        help="what is done with a reasoning that repeats itself: ended and its verdict forced (default), or let run",
    ),
    click.option(
        "--long",
        type=click.Choice(("cut", "split", "refuse")),
        default="cut",
        help="what is done with a passage that is too long (default cut)",
    ),
    click.option(
        "--engine",
        metavar="KEY=VALUE",
        multiple=True,
        help="vllm: an argument of vllm.LLM, such as max_model_len=4096; openai: served=NAME or timeout_s=60",
    ),
    click.option("--prompt", metavar="NAME", help="rank1 or delimited (default: the student's own)"),
)


@dataclass(frozen=True, slots=True)
class InputOptions:
    """A student and the lists that it reranks."""

    model: str
    queries: Path
    corpus: Path
    run: Path
    depth: int | None
    missing: float

    def pairs(self, queries: Container[str] | None = None) -> list[Pair]:
        """The pairs of the run (of those queries), its lists cut at the depth. Raises as `blocks`."""
        _, blocks = self.blocks(queries)
        return [pair for block in blocks() for pair in block]

    def blocks(self, only: Container[str] | None = None) -> tuple[int, Callable[[], Iterator[list[Pair]]]]:
        """(how many pairs, a function that gives them anew): blocks of whole queries, sorted, about `files.BLOCK` each.

        The lists are cut at the depth; what has no text is left out, and counted on the terminal.

        Raises DataError where more of the queries or passages than the share `missing` have no text, InputError for a
        depth below 1.
        """
        from distill.errors import InputError
        from distill.files.gaps import Gaps
        from distill.records import make_pair
        from distill.rerank import files

        if self.depth is not None and self.depth < 1:
            raise InputError(f"--depth {self.depth}: at least 1")
        lists = files.ListsOnDisk()
        for query, docs in files.read_lists(self.run):
            lists.put(query, docs[: self.depth])
        queries = files.read_queries(self.queries)
        texts = {query for query, (text, _) in queries.items() if text}
        gaps, name = Gaps(self.missing, "--missing"), self.run.name
        known, unknown = files.ListsOnDisk(), f"queries of {name}"
        for query, docs in lists:
            if not gaps.lacks(unknown, "query", query, query in texts, name, self.queries.name, texts):
                known.put(query, docs)
        gaps.check()
        passages = files.read_passages(self.corpus, files.IdsOnDisk(known))
        kept, of, place = files.ListsOnDisk(), f"passages of {name}", self.corpus.name
        for query, docs in known:
            where = f"{name}, query {query!r}"
            lacks = [gaps.lacks(of, "passage", doc, bool(passages.get(doc)), where, place, passages) for doc in docs]
            kept.put(query, [doc for doc, gone in zip(docs, lacks, strict=True) if not gone])
        gaps.check()
        for what, count in gaps.counts().items():
            say(f"left out: {counted_phrase(count, what)}")

        def blocks() -> Iterator[list[Pair]]:
            block: list[Pair] = []
            for query, docs in kept:
                if only is not None and query not in only:
                    continue
                text, instruction = queries[query]
                block += [make_pair(query, doc, text, passages[doc], instruction) for doc in docs]
                if len(block) >= files.BLOCK:
                    yield block
                    block = []
            if block:
                yield block

        return kept.pairs, blocks

    def scores(self, queries: Container[str]) -> dict[str, dict[str, float]]:
        """The run's scores of these queries, {query: {passage: score}}. Raises DataError as `blocks`."""
        from distill.rerank import files

        return {query: scores for query, scores in files.read_scores(self.run) if query in queries}

    def judged_pairs(self, qrels: Mapping[str, Mapping[str, float]], path: Path) -> list[Pair]:
        """The pairs of queries that the judgements in the file `path` name. Raises InputError where there are none."""
        from distill.errors import InputError

        pairs = self.pairs(qrels)
        if not pairs:
            raise InputError(f"{path}: has none of the queries of {self.run}; give this run's judgements")
        return pairs


input_options = collected(
    "inputs",
    InputOptions,
    click.option("--model", type=MODEL, metavar="MODEL", required=True, help="a student's folder or hub name"),
    click.option(
        "--queries", type=INPUT, metavar="FILE", required=True, help="JSON lines (_id, text, instruction) or TSV"
    ),
    click.option(
        "--corpus", type=INPUT, metavar="FILE", required=True, help="JSON lines (_id, title, text) or TSV, or gzipped"
    ),
    click.option("--run", type=INPUT, metavar="FILE", required=True, help="the first stage's lists, a TREC run"),
    click.option("--depth", type=int, metavar="N", help="only the first N passages of each list"),
    click.option(
        "--missing",
        type=click.FloatRange(0, 1, max_open=True),
        default=MISSING,
        metavar="SHARE",
        help=f"of the run's queries and passages, the share that may have no text (default {MISSING:g})",
    ),
)

first_option = click.option(
    "--first",
    type=MODEL,
    metavar="MODEL",
    help="mode adaptive: a student that judges all pairs first, as an encoder; the other thinks where it is unsure",
)


def check_first(first: str | None, model: str, modes: Container[str]) -> None:
    """Raise InputError where --first is given without mode adaptive, with mode direct, or to one that cannot think."""
    from distill.errors import InputError
    from distill.rerank.student_format import WRITES_NOTHING, is_encoder

    if first is None:
        return
    if "adaptive" not in modes:
        raise InputError("--first is for --mode adaptive: the student that answers before the other thinks")
    if "direct" in modes:
        raise InputError("--first answers in place of mode direct; leave --mode direct out, or calibrate it by itself")
    if is_encoder(model):
        raise InputError(f"{model}: mode adaptive: {WRITES_NOTHING}")


journal_option = click.option(
    "--journal",
    type=FILE,
    metavar="FILE",
    help="keep judgements there: a stopped command goes on from it, and what is there is not judged again",
)


def say(text: str) -> None:
    """One line on the terminal."""
    print(text, file=sys.stderr, flush=True)
