"""A BEIR folder with the labels as they now are: corrected ones where they were changed, rejected pairs left out.

A split that was asked about gives its kept pairs; a split that never was (held out for evaluation) gives all its
labelled pairs. The passage's title is part of its text. An instruction goes into the query's `instruction`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from distill.prompts import is_relevant, prompt_of
from distill.publish.formats.base import ExportCounts, Files, config
from distill.publish.rows import Kept, hub_split, trained_verdict
from distill.records import Pair, digest

USE = """\
`corpus.jsonl`, `queries.jsonl`, `qrels/{split}.tsv`: any reader of BEIR folders takes them, `distill` too
(`pairs: {source: beir, path: ...}`). The reasoning is left out.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`corpus.jsonl`, `queries.jsonl`, `qrels/{split}.tsv`; ids are the pairs' own, made unique where texts differ."""
    verdicts: dict[str, Counter[int]] = {}
    asked: set[str] = set()
    for pair, trace in kept.joined():
        asked.add(pair.split)
        verdict = trained_verdict(pair, trace)
        if verdict is not None:
            verdicts.setdefault(pair.pair_id, Counter())[int(is_relevant(verdict, prompt_of(trace.teacher)))] += 1
    rows: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    with (
        Files(out, "qrels/{split}.tsv", "query-id\tcorpus-id\tscore\n") as qrels,
        Files(out, "{split}.jsonl") as tables,
    ):
        corpus, queries = _Texts(tables, "corpus"), _Texts(tables, "queries")
        for pair in kept.pairs():
            grade = _grade(pair, verdicts.get(pair.pair_id))
            if pair.split in asked and pair.pair_id not in verdicts:
                left_out["pairs without a kept trace"] += 1
                continue
            if grade is None:
                left_out["pairs without a label"] += 1
                continue
            query = queries.add(pair.query_id, {"text": pair.query}, pair.instruction)
            passage = corpus.add(pair.doc_id, {"title": "", "text": pair.passage})
            qrels.write(re.sub(r"[^\w.-]", "_", pair.split), f"{query}\t{passage}\t{grade}\n")
            rows[hub_split(pair.split)] += 1
    # The hub reads one kind of file a dataset, so the qrels, which BEIR has as .tsv, are not a configuration of it.
    configs = [config(name, [name], "{split}.jsonl") for name in ("corpus", "queries")]
    return ExportCounts(dict(rows), configs, USE, dict(left_out))


def _grade(pair: Pair, votes: Counter[int] | None) -> int | None:
    if pair.label is not None:
        return pair.label
    return None if not votes or votes[0] == votes[1] else int(votes[1] > votes[0])


class _Texts:
    """JSON lines of texts by id; an id that comes again with another text gets a suffix, so that none is lost."""

    def __init__(self, files: Files, name: str) -> None:
        self._files, self._name = files, name
        self._seen: dict[str, str] = {}

    def add(self, key: str, fields: dict[str, str], instruction: str | None = None) -> str:
        """Write the text where it is new; returns its id. Tabs and newlines in ids become _."""
        key = "_".join(key.split()) or "_"
        mark = digest(fields["text"], instruction)[:8]
        key = key if self._seen.get(key, mark) == mark else f"{key}-{mark}"
        if key not in self._seen:
            self._seen[key] = mark
            more = {"instruction": instruction} if instruction else {}
            self._files.add(self._name, {"_id": key, **fields, **more})
        return key
