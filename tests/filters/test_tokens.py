"""Tokens of training rows: counted once, kept, read by any process, and the same as what the SFT room encodes."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from filter_rows import TEXT, pair, trace

from distill import store
from distill.errors import DataError
from distill.records import Pair, Trace
from filters.base import Tools
from filters.engine.run import filter_folders
from filters.engine.tokens import RowTokens, count_rows
from filters.settings import FilterSettings


def words(rows: Sequence[tuple[Pair, Trace]]) -> list[int]:
    return [len(f"{p.query} {p.passage} {t.reasoning}".split()) for p, t in rows]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "SHARD_ROWS", 23)
    monkeypatch.setattr("filters.engine.tokens.NEAR", 7)
    monkeypatch.setattr("filters.engine.tokens.BATCH", 5)
    rng = random.Random(0)
    pairs = [pair(n) for n in range(40)]
    traces = [
        trace(p, s, reasoning=TEXT * rng.randint(1, 6), error="400: no" if rng.random() < 0.1 else None)
        for p in pairs for s in range(3)
    ]  # fmt: skip
    store.write_rows(tmp_path / "pairs", pairs, Pair)
    store.write_rows(tmp_path / "traces", traces, Trace)
    return tmp_path


def test_every_count_is_found_in_any_order_and_after_travelling(folder: Path) -> None:
    file = folder / "traces" / "tokens" / "x.npy"
    counted = count_rows(str(folder / "pairs"), str(folder / "traces"), file, words)
    pairs = {p.pair_id: p for p in store.read_rows(folder / "pairs", Pair)}
    rows = [(pairs[t.pair_id], t) for t in store.read_rows(folder / "traces", Trace) if t.error is None]
    assert counted == len(rows)
    tokens = RowTokens(file)
    assert [tokens(*row) for row in rows] == words(rows)
    random.Random(1).shuffle(rows)
    travelled = pickle.loads(pickle.dumps(tokens))
    assert [travelled(*row) for row in rows] == words(rows)
    with pytest.raises(DataError, match="holds no count for the trace"):
        tokens(pair(99), trace(pair(99)))


def test_length_reads_them_in_other_processes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filters.engine.run.WORTH_A_PROCESS", 1)
    file = folder / "tokens.npy"
    count_rows(str(folder / "pairs"), str(folder / "traces"), file, words)
    names = [str(folder / name) for name in ("pairs", "traces", "kept", "rejected", "changed")]
    rule = FilterSettings.model_validate(["parses", {"length": {"max_length": 60}}])
    counts = filter_folders(*names, rule, Tools(row_tokens=RowTokens(file)), processes=2)
    pairs = {p.pair_id: p for p in store.read_rows(folder / "pairs", Pair)}
    kept = list(store.read_rows(folder / "kept", Trace))
    assert all(words([(pairs[t.pair_id], t)])[0] <= 60 for t in kept) and kept
    assert counts["by_filter"]["length"]["rejected"] == counts["samples"] - len(kept) - counts["failed"] > 0


def test_the_students_count_is_what_training_encodes(folder: Path) -> None:
    from distill.pipeline.config import RunConfig
    from distill.pipeline.filter_tools import StudentTokens
    from distill.pipeline.run import Run
    from sft.scratch import train_tokenizer
    from sft.tokens import encode
    from tests.sft.kept import examples

    train_tokenizer([TEXT, "Determine if the following passage is relevant"] * 9, 400).save_pretrained(folder / "base")
    config = RunConfig.model_validate({
        "name": "x", "pairs": {"source": "example"}, "teacher": {"source": "example"}, "sft": {"base": "base"},
    })  # fmt: skip
    count = StudentTokens(Run(config, folder / "run", folder / "run.yaml"))
    pairs = {p.pair_id: p for p in store.read_rows(folder / "pairs", Pair)}
    traces = [t for t in store.read_rows(folder / "traces", Trace) if t.error is None][:20]
    counted = count([(pairs[t.pair_id], t) for t in traces])
    encoded, refused = encode(count._tokenizer, examples(pairs, traces, "think"), 10_000)
    assert not refused and counted == [len(each.input_ids) for each in encoded]
    identity = count.identity
    (folder / "base" / "tokenizer_config.json").write_text("{}")
    assert count.identity != identity, "another tokenizer is another count"
