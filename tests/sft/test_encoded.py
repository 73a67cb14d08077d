"""Rows are encoded once, into a file, and what is trained is what an encoding in memory gives."""

from __future__ import annotations

import random
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import sft.encoded
from distill import store
from distill.errors import DataError
from distill.records import Example
from sft.encoded import FOLDER, encoded_rows
from sft.examples import lengths_of, write_lengths
from sft.settings import SftSettings
from sft.student import load_tokenizer
from sft.tokens import encode
from sft.train import train
from sft.trainer import PairOrder, StudentCollator
from tests.sft.kept import examples, rows_of
from tests.sft.tiny import base_folder, job_of, world


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_folder(tmp_path_factory.mktemp("base"))


def in_memory(rows: list[Example], base: Path, max_length: int) -> list[dict[str, Any]]:
    """The rows as they were made before they lay in a file."""
    good, _ = encode(load_tokenizer(str(base), SftSettings()), rows, max_length)
    scale = None
    if len({row.weight for row in good}) > 1:
        counts = [len(row.input_ids) - row.prompt_tokens for row in good]
        scale = sum(counts) / sum(row.weight * count for row, count in zip(good, counts, strict=True))
    weighted = [{} if scale is None else {"token_weights": [row.weight * scale] * len(row.input_ids)} for row in good]
    return [
        {"input_ids": row.input_ids, "labels": row.labels, **more} for row, more in zip(good, weighted, strict=True)
    ]


@pytest.mark.parametrize("heavy", [1.0, 3.0])
@pytest.mark.parametrize("order_by", ["trace", "prompt"])
def test_the_batches_of_training_are_those_of_rows_in_memory(
    heavy: float, order_by: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(sft.encoded, "CHUNK", 7)
    training = {"max_steps": 3, "per_device_train_batch_size": 4, "logging_steps": 1, "save_strategy": "no"}
    job = job_of(tmp_path, base, count=30, training=training, order_by=order_by, max_length=61)
    pairs, traces = world(30)
    rows = examples(pairs, traces, "think", weights=(1.0, heavy))
    store.write_rows(job["examples"], rows, Example)
    job["lengths"] = str(tmp_path / "lengths.json")
    write_lengths(tmp_path / "lengths.json", rows_of(pairs, traces)())
    batches: list[dict[str, Any]] = []
    whole = StudentCollator.torch_call

    def watch(self: StudentCollator, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batches.append(whole(self, rows))
        return batches[-1]

    monkeypatch.setattr(StudentCollator, "torch_call", watch)
    result = train(job)
    memory = in_memory(rows, base, 61)
    assert result["rejected"] > 0 and result["examples"] == len(memory)
    if order_by == "prompt":
        lengths = [row["labels"].count(-100) for row in memory]
    else:
        good, _ = encode(load_tokenizer(str(base), SftSettings()), rows, 61)
        lengths = list(lengths_of(tmp_path / "lengths.json", [row.pair_id for row in good]))
    order = list(PairOrder(lengths, 4, 0))
    assert len(batches) >= 3
    for number, batch in enumerate(batches[:3]):
        for place, row in enumerate(memory[i] for i in order[4 * number : 4 * number + 4]):
            size = len(row["input_ids"])
            for name in row:
                assert torch.equal(batch[name][place][:size], torch.tensor(row[name])), name
            assert (batch["labels"][place][size:] == -100).all()
    assert ("token_weights" in batches[0]) == (heavy != 1.0)


def test_the_order_is_that_of_lists(tmp_path: Path) -> None:
    """As `PairOrder` was written before its order lay in arrays."""
    for count, batch in ((103, 4), (64, 8), (5, 8), (1000, 3)):
        lengths = [i * 7919 % 53 for i in range(count)]
        rng = random.Random("1:0")
        order = list(range(count))
        rng.shuffle(order)
        batches = []
        for start in range(0, count, batch * 32):
            near = sorted(order[start : start + batch * 32], key=lambda i: lengths[i])
            batches += [near[i : i + batch] for i in range(0, len(near), batch)]
        short = [b for b in batches if len(b) < batch]
        whole = [b for b in batches if len(b) == batch]
        rng.shuffle(whole)
        assert list(PairOrder(lengths, batch, 1)) == [i for b in whole + short for i in b]


def test_rows_are_encoded_once_and_anew_when_anything_of_them_changes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, traces = world(20)
    folder = str(tmp_path / "rows")
    store.write_rows(folder, examples(pairs, traces, "think"), Example)
    tokenizer = load_tokenizer(str(base), SftSettings())
    calls: list[int] = []

    def counted(*args: Any) -> Any:
        calls.append(1)
        return encode(*args)

    monkeypatch.setattr(sft.encoded, "encode", counted)
    first = encoded_rows(tokenizer, folder, tmp_path, 200, "rank1")
    again = encoded_rows(tokenizer, folder, tmp_path, 200, "rank1")
    assert calls == [1] and again.dataset[:] == first.dataset[:] and again.rejected == first.rejected
    shorter = encoded_rows(tokenizer, folder, tmp_path, 59, "rank1")
    assert calls == [1, 1] and len(shorter.dataset) < len(first.dataset)
    assert all("more than sft.max_length 59" in reason for _, reason in shorter.rejected)
    store.write_rows(folder, examples(pairs, traces[:5], "think"), Example)
    assert len(encoded_rows(tokenizer, folder, tmp_path, 200, "rank1").dataset) == 5
    tokenizer.add_tokens(["thing"])
    encoded_rows(tokenizer, folder, tmp_path, 200, "rank1")
    assert calls == [1] * 4
    (tmp_path / FOLDER / sft.encoded.ROWS).write_bytes(b"half")
    (tmp_path / FOLDER / sft.encoded.INDEX).unlink()  # written last: a kill before it leaves rows that do not count
    assert len(encoded_rows(tokenizer, folder, tmp_path, 200, "rank1").dataset) == 5


def _encoded_by(base: str, folder: str, out: str) -> tuple[int, float]:
    rows = encoded_rows(load_tokenizer(base, SftSettings()), folder, Path(out), 200, "rank1")
    return len(rows.dataset), (Path(out) / FOLDER / sft.encoded.INDEX).stat().st_mtime


def test_workers_of_a_node_share_the_rows(base: Path, tmp_path: Path) -> None:
    pairs, traces = world(40)
    folder = str(tmp_path / "rows")
    store.write_rows(folder, examples(pairs, traces, "think"), Example)
    with get_context("spawn").Pool(2) as pool:
        found = pool.starmap(_encoded_by, [(str(base), folder, str(tmp_path))] * 3, chunksize=1)
    assert found == [found[0]] * 3 and found[0][0] == 40


def test_a_pair_without_a_length_is_an_error(tmp_path: Path) -> None:
    pairs, traces = world(8)
    write_lengths(tmp_path / "lengths.json", rows_of(pairs, traces[:7])())
    with pytest.raises(DataError, match=f"has no length of the pair {traces[7].pair_id}"):
        list(lengths_of(tmp_path / "lengths.json", [trace.pair_id for trace in traces]))
