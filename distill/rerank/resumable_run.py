"""A run reranked, so that it can be stopped at any instant and taken up again. Called by `distill rerank`.

The pairs come in blocks of whole queries, and no more than a block is in memory. Each has a journal, `OUT.journal` the
first and `OUT.journal.N` the others; what is there is not judged again. When all are judged, the judgements become
Parquet, the run file is written, and the journals go. A journal that the user names is shared with other commands: it
serves all blocks, and stays.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from distill import store
from distill.errors import RunFolderError
from distill.files.runs import write_lists
from distill.records import Judgement, Pair
from distill.rerank import files
from distill.rerank.jobs import Judged, Student, Weights, job_of, weights_by_hash
from distill.rerank.journal import Journal
from distill.rerank.progress import Progress
from distill.rerank.reranker import failed_text
from distill.rerank.scorer import Scorer, refuse_where_nothing_is_read
from distill.results import Json

Blocks = Callable[[], Iterator[list[Pair]]]
"""The pairs, anew at each call: sorted by query, each query's in one block."""
Fuse = Callable[[str, Mapping[str, float]], dict[str, float]]
"""(query, {passage: margin}) -> {passage: score to rank by}."""


def rerank_run(
    student: Student,
    blocks: Blocks,
    total: int,
    out: Path,
    judgements: Path,
    made_from: Mapping[str, Json],
    threshold: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    fuse: Fuse | None = None,
    shared: Path | None = None,
) -> dict[str, int | float]:
    """Judge `total` pairs; write `out` (a TREC run, by margin or as `fuse` has it) and `judgements` (a Parquet folder).

    Returns counts.
    A query that the student cannot read is not judged: it is said, and listed in the manifest (`failed`).
    With a threshold, passages that score below it are left out of the run, never of the judgements. `made_from` says
    what decides the judgements; a journal or result that was made from something else is refused (RunFolderError).
    One that does not say its backend, as before there was that key, is taken for any built-in one's. `shared` is a
    journal that the user names.
    """
    if out.is_dir():
        raise RunFolderError(f"{out}: is a folder; --out names the file of the reranked run")
    key = store.fingerprint(dict(made_from))
    keys = {key}
    if isinstance(made_from.get("backend"), str):
        keys.add(store.fingerprint({name: value for name, value in made_from.items() if name != "backend"}))
    work = _Work(student, blocks, total, out.with_name(out.name + ".journal"), key, keys, say, shared)
    manifest = store.read_manifest(judgements)
    others = [p for p in judgements.iterdir() if p.name != ".lease"] if judgements.is_dir() else []
    if manifest is None and others and not work.journal.exists():
        raise RunFolderError(f"{judgements}: is not empty and holds no judgements of ours; choose another --judgements")
    counts: Counter[str] = Counter()
    if work.journal.exists() and not shared:
        Journal(work.journal, key, keys).close()  # that of another run is refused
    if manifest is not None and manifest["settings"].get("key") in keys:
        failed = manifest["result"].get("failed", {})
        say(f"{manifest['result']['rows']:,} of {total:,} pairs are judged already")
        if failed:
            say(f"warning: {failed_text(failed)}")
    else:
        failed = work.judge()
        result = store.write_rows(judgements, work.rows(counts), Judgement, presorted=True)
        described = {**result, **summary(counts), "failed_queries": len(failed), "failed": failed}
        store.write_manifest(judgements, "rerank", dict(made_from), {"key": key}, described)

    def lists() -> Iterator[tuple[str, dict[str, float]]]:
        counts.clear()
        for query, rows in groupby(store.read_rows(judgements, Judgement), attrgetter("query_id")):
            judged = list(rows)
            for row in judged:
                tally(counts, row)
            scores = {row.doc_id: row.margin for row in judged}
            if fuse is not None:
                scores = fuse(query, scores)
            scores = {row.doc_id: scores[row.doc_id] for row in judged if threshold is None or row.score >= threshold}
            counts["written"] += len(scores)
            yield query, scores

    temporary = out.with_name(out.name + ".tmp")
    write_lists(temporary, lists, "distill")
    os.replace(temporary, out)
    work.remove()
    return summary(counts) | {"failed_queries": len(failed), "written": counts["written"]}


@dataclass(slots=True)
class _Work:
    """The blocks of one run and their journals: `journal` the first one's, with a number after it the others'."""

    student: Student
    blocks: Blocks
    total: int
    journal: Path
    key: str
    keys: Collection[str]
    say: Callable[[str], None]
    shared: Path | None = None
    before: int = 0
    weights: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.weights = weights_by_hash(self.student.model)

    def judge(self) -> dict[str, str]:
        """Judge whatever no journal has; returns {query: why the student cannot read it}."""
        failed: dict[str, str] = {}
        found = 0
        with Scorer(notify=self._notify) as scorer:
            for judged in self._each(scorer):
                failed |= judged.failed
                found += len(judged.found)
        if failed:
            self.say(f"warning: {failed_text(failed)}")
        if not found:
            refuse_where_nothing_is_read(self.student, failed)
        return failed

    def rows(self, counts: Counter[str]) -> Iterator[Judgement]:
        """All judgements out of the journals, sorted by query and passage, and counted."""
        for judged in self._each(Scorer()):
            for row in sorted(judged.found, key=lambda row: (row.query_id, row.doc_id)):
                tally(counts, row)
                yield row

    def remove(self) -> None:
        """Delete the journals, the first one last: while it is there, the others are read."""
        for number in reversed(range(self.total // files.BLOCK + 1)):
            self._path(number).unlink(missing_ok=True)

    def _each(self, scorer: Scorer) -> Iterator[Judged]:
        """Each block's result. The first journal serves all blocks: an earlier version had no other."""
        self.before = 0
        aliases = {self.key: self.student.identity(self.weights)}
        with closing(
            Journal(self.shared) if self.shared else Journal(self.journal, self.key, self.keys, aliases)
        ) as first:
            for number, block in enumerate(self.blocks()):
                own = number > 0 and not self.shared
                journal = Journal(self._path(number), self.key, self.keys, aliases, older=first) if own else first
                scorer.journal = journal
                yield from scorer.score([job_of("", self.student, block, self.weights, part=True)])
                self.before += len(block)
                if own:
                    journal.close()

    def _path(self, number: int) -> Path:
        return self.journal.with_name(f"{self.journal.name}.{number}") if number else self.journal

    def _notify(self, progress: Progress) -> None:
        if progress.warning:
            self.say(f"warning: {progress.warning}")
        elif progress.began:
            self.say(progress.text(self.before, self.total))
        else:
            self.say(f"{self.before + progress.reused:,} of {self.total:,} pairs are judged already")


def tally(counts: Counter[str], row: Judgement) -> None:
    """Count what nobody may overlook: answers that were forced, could not be read, or saw a passage in part."""
    counts.update(pairs=1, tokens=row.tokens, unparsable=row.verdict is None, thought=row.mode == "adaptive.think")
    counts[row.finish_reason] += 1


def summary(counts: Mapping[str, int]) -> dict[str, int | float]:
    """The counts by the names of the manifest."""
    same = ("no_end", "looped", "budget", "unparsable", "cut", "split", "thought")
    pairs = counts["pairs"]
    return {
        "pairs": pairs,
        "tokens_per_pair": round(counts["tokens"] / max(1, pairs), 2),
        "unfinished": counts["length"],
        **{name: counts[name] for name in same},
    }
