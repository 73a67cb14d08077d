"""A run reranked, so that it can be stopped at any instant and taken up again.

Each judgement is a line in `OUT.journal`, under a first line that says of what; what is there is not judged again.
When all are there, the judgements become Parquet, the run file is written, and the journal goes.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from distill import store
from distill.errors import RunFolderError
from distill.files.runs import write_run
from distill.records import Judgement, Pair, as_dict
from distill.rerank.reranker import Reranker, failed_text

SYNC_S = 1.0  # a power cut costs at most so much work


def rerank_run(
    reranker: Reranker,
    pairs: Sequence[Pair],
    out: Path,
    judgements: Path,
    made_from: Mapping[str, Any],
    threshold: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Judge the pairs and write `out` (a TREC run, by margin) and `judgements` (a Parquet folder); returns counts.

    A query that the student cannot read is not judged: it is said, and listed in the manifest (`failed`).
    With a threshold, passages that score below it are left out of the run, never of the judgements. `made_from` says
    what decides the judgements; a journal or result that was made from something else is refused (RunFolderError).
    One that does not say its backend, as before there was that key, is taken for any built-in one's.
    """
    if out.is_dir():
        raise RunFolderError(f"{out}: is a folder; --out names the file of the reranked run")
    pairs, failed = reranker.readable(pairs)
    if failed:
        say(f"warning: {failed_text(failed)}")
    journal = out.with_name(out.name + ".journal")
    key = store.fingerprint(dict(made_from))
    keys = {key}
    if isinstance(made_from.get("backend"), str):
        keys.add(store.fingerprint({name: value for name, value in made_from.items() if name != "backend"}))
    done = _journalled(journal, keys)
    manifest = store.read_manifest(judgements)
    others = [p for p in judgements.iterdir() if p.name != ".lease"] if judgements.is_dir() else []
    if manifest is None and others and not journal.exists():
        raise RunFolderError(f"{judgements}: is not empty and holds no judgements of ours; choose another --judgements")
    finished = manifest is not None and manifest["settings"].get("key") in keys
    if finished and not done:
        rows = {(j.query_id, j.doc_id): j for j in store.read_rows(judgements, Judgement)}
        done = rows if len(rows) == len({(p.query_id, p.doc_id) for p in pairs}) else {}
    left = [pair for pair in pairs if (pair.query_id, pair.doc_id) not in done]
    if done:
        say(f"{len(pairs) - len(left):,} of {len(pairs):,} pairs are judged already")
    if left:
        with _open(journal, key) as sink:
            _judge(reranker, left, done, sink, len(pairs), say)
    found = [done[pair.query_id, pair.doc_id] for pair in pairs]
    result = store.write_rows(judgements, found, Judgement)
    counts = {**summary(found), **{k: v for k, v in sorted(reranker.counts.items()) if k in ("unparsable",)}}
    counts["failed_queries"] = len(failed)
    store.write_manifest(judgements, "rerank", dict(made_from), {"key": key}, {**result, **counts, "failed": failed})
    runs: dict[str, dict[str, float]] = {}
    for judgement in found:
        if threshold is None or judgement.score >= threshold:
            runs.setdefault(judgement.query_id, {})[judgement.doc_id] = judgement.margin
    temporary = out.with_name(out.name + ".tmp")
    write_run(temporary, runs, "distill")
    os.replace(temporary, out)
    journal.unlink(missing_ok=True)
    return counts | {"written": sum(map(len, runs.values()))}


def summary(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """What nobody may overlook: how many answers were forced, could not be read, or saw a passage in part."""
    reasons = [j.finish_reason for j in judgements]
    return {
        "pairs": len(judgements),
        "tokens_per_pair": round(sum(j.tokens for j in judgements) / max(1, len(judgements)), 2),
        "unfinished": reasons.count("length"),
        "no_end": reasons.count("no_end"),
        "budget": reasons.count("budget"),
        "unparsable": sum(j.verdict is None for j in judgements),
        "cut": reasons.count("cut"),
        "split": reasons.count("split"),
        "thought": sum(j.mode == "adaptive.think" for j in judgements),
    }


def _judge(
    reranker: Reranker,
    left: Sequence[Pair],
    done: dict[tuple[str, str], Judgement],
    sink: IO[str],
    total: int,
    say: Callable[[str], None],
) -> None:
    started = shown = synced = time.monotonic()
    before = len(done)

    def notify(at: int, judgement: Judgement) -> None:
        nonlocal shown, synced
        done[judgement.query_id, judgement.doc_id] = judgement
        sink.write(json.dumps(as_dict(judgement), ensure_ascii=False) + "\n")
        now = time.monotonic()
        if now - synced > SYNC_S:
            sink.flush()
            os.fsync(sink.fileno())
            synced = now
        if now - shown > 2 or len(done) == total:
            shown = now
            say(_progress(reranker, len(done), total, (len(done) - before) / max(now - started, 1e-9)))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        reranker.judge(left, notify=notify)
    for each in seen:
        say(f"warning: {each.message}")


def _progress(reranker: Reranker, done: int, total: int, rate: float) -> str:
    counts = reranker.counts
    parts = [f"{done:,}/{total:,} pairs", f"{rate:,.1f} pairs/s"]
    parts.append(f"{counts['tokens'] / max(1, counts['pairs']):.1f} tokens a pair")
    parts += [f"{name} {counts[name]:,}" for name in ("forced", "unparsable", "cut", "split") if counts[name]]
    parts.append(f"{(total - done) / max(rate, 1e-9):,.0f} s left")
    return "  ".join(parts)


def _journalled(path: Path, keys: Collection[str]) -> dict[tuple[str, str], Judgement]:
    """What an earlier process has judged; a line that it did not finish is not there."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    try:
        head = json.loads(lines[0])
    except json.JSONDecodeError:
        head = {}
    if head.get("journal") not in keys:
        raise RunFolderError(
            f"{path}: of another model, mode, backend, data or setting; finish that run with its own arguments, "
            "remove the file, or choose another --out"
        )
    found = {}
    for line in lines[1:-1]:
        try:
            judgement = Judgement(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        found[judgement.query_id, judgement.doc_id] = judgement
    return found


def _open(path: Path, key: str) -> IO[str]:
    """The journal, to be added to; a torn last line is ended, so that the next one is a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    torn = not fresh and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    sink = open(path, "a", encoding="utf-8", buffering=1)  # a line is with the system once it is written
    if fresh:
        sink.write(json.dumps({"journal": key}) + "\n")
        sink.flush()
    elif torn:
        sink.write("\n")
    return sink
