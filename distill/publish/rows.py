"""A kept trace with all that is known of its pair: the row that is published and that every export starts from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distill import store
from distill.errors import RunFolderError
from distill.prompts import completion, is_relevant, prompt_in, prompt_of, student_prompt, trained_grade
from distill.records import Pair, Trace

LABELS = "labels"  # the teacher of rows whose answer is the pair's own label, without a reasoning
CHANGED = "changed"  # in addition to pairs/: those that a filter or a person gave another label
HUB_SPLITS = {"dev": "validation", "val": "validation", "valid": "validation"}


@dataclass(frozen=True, slots=True)
class KeptRow:
    """One row a kept trace. `verdict` is what is trained (1 relevant, 0 not; a graded teacher's grade); `prompt` and
    `completion` are the `think` student's, byte for byte (the `direct` one's where the label is the answer); the tokens
    are the teacher's, as billed; `p_relevant` is the probability that it gave its verdict, where that is known."""

    pair_id: str
    sample: int
    query_id: str
    doc_id: str
    query: str
    instruction: str | None
    passage: str
    label: int | None
    label_origin: str | None
    label_before: int | None
    relevant_from: int
    reasoning: str
    answer: str
    verdict: int
    prompt: str
    completion: str
    source: str
    split: str
    language: str | None
    teacher: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    p_relevant: float | None = None


def trained_verdict(pair: Pair, trace: Trace) -> int | None:
    """The label where a filter or a person has changed it, else the teacher's verdict; None without one.

    1 or 0, or a grade of the scale that the teacher was asked on, which a changed label moves to its side.
    """
    changed = pair.relevant if pair.label_before is not None else None
    return trained_grade(trace.verdict, changed, prompt_of(trace.teacher))


def says_relevant(row: KeptRow) -> bool:
    """Whether what is trained calls the passage relevant."""
    return is_relevant(row.verdict, prompt_in(row.prompt))


def hub_split(split: str) -> str:
    """The split's name on the hub, which has `validation` where BEIR has `dev`, and knows letters and digits only."""
    return HUB_SPLITS.get(split, re.sub(r"\W+", "_", split))


class Kept:
    """The kept traces of a run, read from disk in the order of (pair_id, sample), one shard in memory at a time.

    Pairs whose label was changed are read from `changed/`, all of them, in place of those in `pairs/`.
    """

    def __init__(self, run: Path) -> None:
        """Raises RunFolderError where `run` has no finished filter stage."""
        self.run = run
        for folder, command in (("pairs", "pairs"), ("kept", "filter")):
            if store.read_manifest(run / folder) is None:
                raise RunFolderError(f"{run / folder}: not made yet; `distill {command} CONFIG --out {run}` makes it")
        changed = store.read_rows(run / CHANGED, Pair) if (run / CHANGED).is_dir() else iter(())
        self._changed = {pair.pair_id: pair for pair in changed}

    def pairs(self) -> Iterator[Pair]:
        """Every pair of the run with its label as it now is, whether its trace was kept or not."""
        for pair in store.read_rows(self.run / "pairs", Pair):
            yield self._changed.get(pair.pair_id, pair)

    def joined(self) -> Iterator[tuple[Pair, Trace]]:
        """Each kept trace with its pair. Raises DataError where a trace has none: the folders are of two runs."""
        return store.read_joined(self.run / "pairs", self.run / "kept", self._changed)

    def rows(self, split: str | None = None) -> Iterator[KeptRow]:
        """The rows that can be trained on, of one of the hub's splits or of all; a trace without a verdict is none."""
        for pair, trace in self.joined():
            verdict = trained_verdict(pair, trace)
            if verdict is not None and split in (None, hub_split(pair.split)):
                yield row_of(pair, trace, verdict)

    def splits(self) -> set[str]:
        """The hub's names of the splits that the pairs carry, whether any of their traces was kept or not."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        fs, inner = store.filesystem(self.run / "pairs")
        shards = store.parquet_files(fs, inner)
        tables = (pq.read_table(path, columns=["split"], filesystem=fs) for path in shards)
        return {hub_split(split) for table in tables for split in pc.unique(table["split"]).to_pylist()}


def row_of(pair: Pair, trace: Trace, verdict: int) -> KeptRow:
    """The row of a trace that says `verdict`."""
    asked, teacher = prompt_of(trace.teacher), teacher_name(trace.teacher)
    written = "direct" if teacher == LABELS and not trace.reasoning else "think"
    return KeptRow(
        pair_id=pair.pair_id,
        sample=trace.sample,
        query_id=pair.query_id,
        doc_id=pair.doc_id,
        query=pair.query,
        instruction=pair.instruction,
        passage=pair.passage,
        label=pair.label,
        label_origin=pair.label_origin,
        label_before=pair.label_before,
        relevant_from=pair.relevant_from,
        reasoning=trace.reasoning,
        answer=trace.content,
        verdict=verdict,
        prompt=student_prompt(pair.query, pair.passage, pair.instruction, asked),
        completion=completion(written, trace.reasoning, verdict, asked),
        source=pair.source,
        split=pair.split,
        language=pair.language,
        teacher=teacher,
        finish_reason=trace.finish_reason,
        prompt_tokens=trace.prompt_tokens,
        completion_tokens=trace.completion_tokens,
        p_relevant=trace.p_relevant,
    )


@lru_cache(maxsize=64)
def teacher_name(teacher: str) -> str:
    """The model alone: which host answered is nobody's business in a published row."""
    try:
        asked = json.loads(teacher)
    except ValueError:
        return teacher
    if not isinstance(asked, dict):
        return teacher
    return str(asked.get("model") or asked.get("teacher") or asked.get("name") or "")
