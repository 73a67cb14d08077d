"""NevIR's layout: pairs of queries and passages that differ by a negation (arXiv 2305.07614)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from distill.errors import DataError
from distill.evaluation.contrast import pairwise_accuracy
from distill.evaluation.suites.base import Layout, Suite, Texts, rows_with
from distill.files.gaps import Gaps
from distill.files.runs import Rankings
from distill.files.splits import similar_split
from distill.files.values import id_of, text_of

NEEDS = ("id", "q1", "q2", "doc1", "doc2")


class NevIr(Layout):
    """`folder`/SPLIT.jsonl (or .csv) with id, q1, q2, doc1, doc2: q1 asks for doc1, q2 for doc2.

    A query is ID_q1, its passage ID_doc1; each query's list is the pair's two passages. Nothing but pairwise accuracy
    is measured: with two passages nDCG says no more. Passages that several pairs share have an id for each.
    """

    beir_shaped = False

    def files(self, folder: Path, split: str) -> list[Path]:
        """SPLIT.jsonl or SPLIT.csv."""
        return [path for path in (folder / f"{split}.jsonl", folder / f"{split}.csv") if path.exists()][:1]

    def read(self, folder: Path, split: str, texts: Texts, gaps: Gaps) -> Suite:
        """The pairs of one file; `texts` is empty. Raises DataError with file and line."""
        passages: dict[str, str] = {}
        queries: dict[str, str] = {}
        own: dict[str, str] = {}
        groups: dict[str, str] = {}
        for where, row in rows_with(self._file(folder, split), NEEDS):
            pair = id_of(row["id"], where)
            if pair is None or f"{pair}_q1" in queries:
                fault = "is there twice" if pair else "is empty"
                raise DataError(f"{where}: the id {pair!r} {fault}; ids must be unique")
            fields = {key: text_of(row[key], where, key) for key in NEEDS[1:]}
            for key, text in fields.items():
                if not text:
                    raise DataError(f"{where}: {key} is empty or no text")
            for n in ("1", "2"):
                queries[f"{pair}_q{n}"], passages[f"{pair}_doc{n}"] = fields[f"q{n}"], fields[f"doc{n}"]
                own[f"{pair}_q{n}"], groups[f"{pair}_q{n}"] = f"{pair}_doc{n}", pair
        if not queries:
            raise DataError(f"{folder / split}.jsonl: is empty; a line is an object with {', '.join(NEEDS)}")
        return Suite(
            "nevir",
            passages,
            queries,
            {query: {passage: 1} for query, passage in own.items()},
            candidates={query: [f"{groups[query]}_doc{n}" for n in ("1", "2")] for query in queries},
            extra=partial(measures, own, groups),
            measured=False,
            stop_words=False,  # no and not are stop words to BM25, and here they are what is asked
        )

    def _file(self, folder: Path, split: str) -> Path:
        paths = self.files(folder, split)
        if not paths:
            there = sorted({path.stem for end in ("jsonl", "csv") for path in folder.glob(f"*.{end}")})
            known = f"; there are {', '.join(there)}{similar_split(split, there)}" if there else ""
            raise DataError(f"{folder / split}.jsonl: no such file{known}; a line of it has {', '.join(NEEDS)}")
        return paths[0]


def measures(own: dict[str, str], groups: dict[str, str], run: Rankings) -> dict[str, dict[str, float]]:
    return {"pairwise_accuracy": pairwise_accuracy(own, groups, run)}
