"""`distill rerank`, `calibrate` and `sweep`: their options, and what they print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.records import Pair
    from distill.rerank.reranker import Reranker

MODES = ("think", "direct", "verdict_first", "budget", "adaptive")
MANY = 0.05  # of the answers
FAULTS = {
    "unfinished": "reached its bound and was cut off; raise --max-new-tokens",
    "no_end": "ended before </think>; train longer, or in this mode: a higher --max-new-tokens does not help",
    "unparsable": "was neither true nor false; see whether the student was trained with this prompt and mode",
}
Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Readers:
    """What other rooms know how to read and write; the top hands it over."""

    read_run: Callable[[Path], dict[str, dict[str, float]]]
    write_run: Callable[[Path, Scores, str], None]
    read_qrels: Callable[[Path], dict[str, dict[str, int]]]
    measure: Callable[[Mapping[str, Mapping[str, int]], str], Callable[[Scores], Mapping[str, float]]]


def add_arguments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands; `main` runs what was parsed."""
    text = "rerank a TREC run with a student; killed, the same command goes on from there"
    sub = commands.add_parser("rerank", help=text, description=text)
    _inputs(sub)
    sub.add_argument("--out", metavar="FILE", required=True, help="the reranked TREC run")
    sub.add_argument("--judgements", metavar="DIR", help="Parquet with reasoning and scores (default: OUT.judgements)")
    sub.add_argument("--mode", choices=MODES, default="think", help="how the student is asked (default think)")
    _engine(sub)
    sub.add_argument("--samples", type=int, default=1, metavar="N", help="sampled traces a pair, averaged (default 1)")
    sub.add_argument("--temperature", type=float, default=0.6, metavar="T", help="of the samples (default 0.6)")
    sub.add_argument("--explanations", action="store_true", help="mode verdict_first: write the reasons as well")
    sub.add_argument("--instruction", metavar="TEXT", help="for every query, in place of the queries' own; '' for none")
    group = sub.add_mutually_exclusive_group()
    group.add_argument("--threshold", type=float, metavar="SCORE", help="leave passages below it out of the run")
    group.add_argument("--precision", type=float, metavar="P", help="the threshold that gave this precision")
    group.add_argument("--recall", type=float, metavar="R", help="the threshold that gave this recall")
    sub.add_argument(
        "--calibration", metavar="FILE", help="default: the student's own calibration.json; 'none' for none"
    )

    text = "fit a student's scores to judged pairs, and save that beside it as calibration.json"
    sub = commands.add_parser("calibrate", help=text, description=text)
    _inputs(sub)
    sub.add_argument("--qrels", metavar="FILE", required=True, help="judgements of the development set, BEIR or TREC")
    sub.add_argument("--relevant-from", type=int, default=1, metavar="G", help="the grade that counts (default 1)")
    sub.add_argument("--mode", choices=MODES, nargs="+", default=["think"], help="one or several (default think)")
    sub.add_argument("--method", choices=("temperature", "platt", "isotonic"), default="platt", help="default platt")
    sub.add_argument(
        "--instruction",
        metavar="TEXT",
        action="append",
        default=[],
        help="check the calibration again under this instruction; may stand several times",
    )
    sub.add_argument("--out", metavar="FILE", help="where to (default: calibration.json in the student's folder)")
    _engine(sub)
    from distill.rerank.instructions.cli import add_arguments as add_sweep

    add_sweep(commands, _inputs, _engine)
    from distill.rerank.serve.cli import add_arguments as add_serving

    add_serving(commands, _engine)


def _inputs(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", metavar="MODEL", required=True, help="a student's folder or hub name")
    sub.add_argument("--queries", metavar="FILE", required=True, help="JSON lines (_id, text, instruction) or TSV")
    sub.add_argument("--corpus", metavar="FILE", required=True, help="JSON lines (_id, title, text) or TSV, or gzipped")
    sub.add_argument("--run", metavar="FILE", required=True, help="the first stage's lists, a TREC run")
    sub.add_argument("--depth", type=int, metavar="N", help="only the first N passages of each list")


def _engine(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--backend", default="auto", metavar="NAME", help="auto, transformers, vllm or openai")
    sub.add_argument("--base-url", metavar="URL", help="backend openai: the server, such as http://127.0.0.1:8000/v1")
    sub.add_argument("--api-key-env", metavar="NAME", help="backend openai: the variable that holds the key")
    sub.add_argument("--device", metavar="NAME", help="backend transformers: cpu, cuda, mps (default: the best)")
    sub.add_argument("--batch", type=int, metavar="N", help="rows at once (default: by the device)")
    sub.add_argument("--max-new-tokens", type=int, default=8192, metavar="N", help="bound on reasoning (default 8192)")
    sub.add_argument("--budget", type=int, default=256, metavar="N", help="mode budget: reasoning tokens (default 256)")
    sub.add_argument(
        "--long", choices=("cut", "split", "refuse"), default="cut", help="a passage too long is ... (default cut)"
    )
    sub.add_argument(
        "--engine",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="vllm: an argument of vllm.LLM, such as max_model_len=4096; openai: served=NAME or timeout_s=60",
    )
    sub.add_argument("--prompt", metavar="NAME", help="rank1 or delimited (default: the student's own)")


def main(parsed: argparse.Namespace, readers: Readers) -> int:
    """Run `rerank`, `calibrate` or `sweep`; returns the exit status. Raises InputError for the user's faults."""
    if parsed.command == "sweep":
        from distill.rerank.instructions.cli import main as sweep

        qrels = readers.read_qrels(Path(parsed.qrels))
        pairs = _judged(parsed, readers, qrels)
        judged = {query: qrels[query] for query in {pair.query_id for pair in pairs}}
        measure = readers.measure(judged, parsed.measure)
        return sweep(parsed, pairs, _reranker(parsed, parsed.mode), measure)
    return _rerank(parsed, readers) if parsed.command == "rerank" else _calibrate(parsed, readers)


def _rerank(parsed: argparse.Namespace, readers: Readers) -> int:
    from distill import store
    from distill.errors import InputError
    from distill.rerank.resumable_run import rerank_run, with_instruction

    out = Path(parsed.out)
    judgements = Path(parsed.judgements) if parsed.judgements else out.with_name(f"{out.name}.judgements")
    pairs = with_instruction(_pairs(parsed, readers), parsed.instruction)
    calibration = {None: "auto", "none": None}.get(parsed.calibration, parsed.calibration)
    reranker = _reranker(
        parsed,
        parsed.mode,
        calibration=calibration,
        samples=parsed.samples,
        temperature=parsed.temperature,
        explanations=parsed.explanations,
    )
    if parsed.mode == "adaptive" and not (reranker.calibration and reranker.calibration.window):
        _say("warning: where to think was never chosen for this student; distill calibrate --mode adaptive does that")
    if reranker.calibration and reranker.curve not in (known := reranker.calibration.points):
        _say(f"warning: calibrated in mode {', '.join(known)}, not in {reranker.curve}: its scores stay as they are")
    for name in ("threshold", "precision", "recall"):
        if (value := getattr(parsed, name)) is not None and not 0 <= value <= 1:
            raise InputError(f"--{name} {value:g}: a number from 0 to 1")
    threshold = parsed.threshold
    if parsed.precision is not None or parsed.recall is not None:
        threshold = reranker.threshold(precision=parsed.precision, recall=parsed.recall)
        _say(f"threshold: {threshold:.4f}")
    paths = {name: Path(getattr(parsed, name)) for name in ("queries", "corpus", "run")}
    keys = (
        "mode",
        "samples",
        "temperature",
        "max_new_tokens",
        "budget",
        "long",
        "prompt",
        "explanations",
        "instruction",
    )
    made_from = {
        "model": _identity(parsed.model),
        "files": {name: store.file_hash(path) for name, path in paths.items()},
        "calibration": store.fingerprint(reranker.calibration) if reranker.calibration else None,
        "depth": parsed.depth,
        **{key: getattr(parsed, key) for key in keys},
    }
    _say(
        f"{parsed.model}: mode {reranker.mode}, backend {reranker.backend.name}, prompt {reranker.backend.form.prompt}"
    )
    with store.lease(judgements):
        counts = rerank_run(reranker, pairs, out, judgements, made_from, readers.write_run, threshold, _say)
    shown = {key: value for key, value in counts.items() if value or key in ("pairs", "written")}
    _say("  ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in shown.items()))
    if counts["pairs"] and not counts["written"]:
        _say(f"warning: no passage reaches the threshold {threshold:g}, so the run is empty")
    for kind, words in FAULTS.items():
        if counts[kind] > MANY * counts["pairs"]:
            _say(f"warning: more than one answer in twenty {words}")
    print(out)
    return 0


def _calibrate(parsed: argparse.Namespace, readers: Readers) -> int:
    from distill.errors import InputError
    from distill.rerank.calibration import FILE, write
    from distill.rerank.fitting import fitted
    from distill.rerank.resumable_run import with_instruction

    out = Path(parsed.out) if parsed.out else Path(parsed.model) / FILE
    if out.is_dir():
        raise InputError(f"{out}: is a folder; --out names the file of the calibration")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder; a hub model's calibration needs --out FILE")
    qrels = readers.read_qrels(Path(parsed.qrels))
    pairs = _judged(parsed, readers, qrels)
    reranker = _reranker(parsed, "think", calibration=None)
    calibration = fitted(
        reranker,
        pairs,
        qrels,
        parsed.mode,
        parsed.method,
        relevant_from=parsed.relevant_from,
        templates={text: with_instruction(pairs, text) for text in parsed.instruction},
        budget=parsed.budget,
        say=_say,
    )
    write(out, calibration)
    print(out)
    return 0


def _reranker(parsed: argparse.Namespace, mode: str, **more: Any) -> Reranker:
    from distill.rerank.reranker import Reranker

    return Reranker(
        parsed.model,
        mode,  # type: ignore[arg-type]
        parsed.backend,
        batch=parsed.batch,
        max_new_tokens=parsed.max_new_tokens,
        budget=parsed.budget,
        long=parsed.long,
        prompt=parsed.prompt,
        device=parsed.device,
        base_url=parsed.base_url,
        api_key_env=parsed.api_key_env,
        engine=_engine_settings(parsed.engine),
        **more,
    )


def _engine_settings(given: list[str]) -> dict[str, Any]:
    """{key: value} of KEY=VALUE, the values as YAML reads them."""
    from distill.config import apply_overrides

    return apply_overrides({}, given)


def _judged(parsed: argparse.Namespace, readers: Readers, qrels: Mapping[str, Any]) -> list[Pair]:
    """The pairs of judged queries. Raises InputError where there are none."""
    from distill.errors import InputError

    found = [pair for pair in _pairs(parsed, readers) if pair.query_id in qrels]
    if not found:
        raise InputError(f"{parsed.qrels}: has none of the queries of {parsed.run}; give this run's judgements")
    return found


def _pairs(parsed: argparse.Namespace, readers: Readers) -> list[Pair]:
    """The pairs of the run, its lists cut at the depth. Raises DataError for a query or passage without a text."""
    from distill.errors import DataError, InputError
    from distill.records import make_pair
    from distill.rerank.files import read_passages, read_queries

    if parsed.depth is not None and parsed.depth < 1:
        raise InputError(f"--depth {parsed.depth}: at least 1")
    run = readers.read_run(Path(parsed.run))
    queries = read_queries(Path(parsed.queries))
    missing = sorted(set(run) - set(queries))
    if missing:
        raise DataError(
            f"{parsed.queries}: {len(missing):,} of the run's queries have no text here, such as {missing[0]!r}; add it"
        )
    lists = {
        query: [doc for doc, _ in sorted(scores.items(), key=lambda each: (-each[1], each[0]))[: parsed.depth]]
        for query, scores in run.items()
    }
    passages = read_passages(Path(parsed.corpus), {doc for docs in lists.values() for doc in docs})
    return [
        make_pair(query, doc, queries[query][0], passages[doc], queries[query][1])
        for query in sorted(lists)
        for doc in lists[query]
    ]


def _identity(model: str) -> Any:
    """A student's name, and the size and time of its files where it is a folder: to see that it was trained again."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".bin") and p.is_file())
    return {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in files if p.name != "calibration.json"}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
