"""The row filters as one predicate over a joined row, and the joined table: what the peers are given.

A peer reads one Parquet file in which each trace's row carries its pair's columns, so that it need not join.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from distill.prompts import completion, rank1_prompt
from distill.records import Pair, Trace
from distill.store import read_rows, schema_of
from filters.base import Tools
from filters.engine.build import build
from filters.settings import FilterSettings

TRACE, PAIR = schema_of(Trace).names, schema_of(Pair).names


class Keep:
    """Whether no filter of the list objects to a row. Cheap to send to another process; tokens are counted as they
    are needed, since a peer has nothing that counts them beforehand."""

    def __init__(self, filters: list[Any], tokenizer_file: Path) -> None:
        self.filters, self.tokenizer_file = filters, tokenizer_file
        self.steps: list[Any] = []

    def __call__(self, row: dict[str, Any]) -> bool:
        if not self.steps:
            count = Count(self.tokenizer_file)
            tools = Tools(row_tokens=lambda pair, trace: count([(pair, trace)])[0])
            self.steps = build(FilterSettings.model_validate(self.filters), tools)
        trace, pair = Trace(*(row[name] for name in TRACE)), Pair(*(row[name] for name in PAIR))
        return all(step(pair, trace) is None for step in self.steps)


class Count:
    """Tokens of training rows by one tokenizer file."""

    def __init__(self, file: Path) -> None:
        self.file, self.tokenizer = file, None

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "tokenizer": None}

    def __call__(self, rows: Sequence[tuple[Pair, Trace]]) -> list[int]:
        from tokenizers import Tokenizer

        self.tokenizer = self.tokenizer or Tokenizer.from_file(str(self.file))
        texts = [rank1_prompt(p.query, p.passage) + completion("think", t.reasoning, 1) for p, t in rows]
        return [len(each.ids) for each in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 32,000 pieces, trained once."""
    file = folder / "tokenizer.json"
    if not file.exists():
        from tokenizers import ByteLevelBPETokenizer

        made = ByteLevelBPETokenizer()
        texts = (trace.reasoning for trace in islice(read_rows(folder / "traces", Trace), 5000))
        made.train_from_iterator(texts, vocab_size=32_000, show_progress=False)
        made.save(str(file))
    return file


def joined(folder: Path) -> Path:
    """The folder with the joined shards, made where it is not there; one trace a pair, both sorted by pair_id."""
    out = folder / "joined"
    if not out.exists():
        import pyarrow.parquet as pq

        pairs = pq.read_table(folder / "pairs").drop_columns(["pair_id"])
        rows = pq.read_table(folder / "traces")
        for name in pairs.column_names:
            rows = rows.append_column(name, pairs[name])
        out.mkdir()
        for number, start in enumerate(range(0, rows.num_rows, 50_000)):
            pq.write_table(rows.slice(start, 50_000), out / f"part-{number:05d}.parquet")
    return out
