"""The index of a dense retriever: exact, resumable, of one model and one corpus; and reciprocal rank fusion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.errors import ConfigError, DataError
from distill.retrieval import index as index_module
from distill.retrieval.encoder import Encoder
from distill.retrieval.fusion import reciprocal_ranks
from distill.retrieval.index import DenseIndex, build
from distill.retrieval.search import nearest_rows

PASSAGES = {f"d{n:02}": "abcde"[n % 5] * 3 + "abcde"[n * 7 % 5] * (n % 4) for n in range(50)}


class Letters:
    """An encoder for tests: a text's vector counts its letters; `encoded` is how many passages it has read."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.encoded, self.dies_after = 0, dies_after

    def encode_query(self, texts: list[str]) -> Any:
        return np.array([[text.count(letter) for letter in "abcde"] for text in texts], float)

    def encode_document(self, texts: list[str]) -> Any:
        if self.dies_after is not None and self.encoded >= self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.encoded += len(texts)
        return self.encode_query(texts)


@pytest.fixture
def shards_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "SHARD", 8)


def test_search_is_exact_and_breaks_ties_by_id_whatever_the_shards(tmp_path: Path, shards_of_8: None) -> None:
    encoder = Encoder(Letters(), "letters")
    queries = encoder.queries(["aab", "cde"])
    index = build(tmp_path / "index", encoder, PASSAGES)
    vectors = encoder.passages([PASSAGES[doc] for doc in sorted(PASSAGES)]).astype(np.float16).astype(np.float32)
    for k in (1, 7, 50, 60):
        for query, found in zip(queries, index.top(queries, k), strict=True):
            scores = dict(zip(sorted(PASSAGES), (vectors @ query).tolist(), strict=True))
            expected = sorted(scores, key=lambda doc: (round(scores[doc], 6), doc), reverse=True)[:k]
            assert [doc for doc, _ in found] == expected
            assert [score for _, score in found] == pytest.approx([scores[doc] for doc in expected], abs=1e-6)
    assert index.text("d07") == PASSAGES["d07"]


def test_ties_at_the_cut_go_to_the_later_row() -> None:
    blocks = [np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)]
    rows, _ = nearest_rows(np.ones((2, 2), np.float32), blocks, 3)
    assert rows.tolist() == [[6, 5, 4], [6, 5, 4]]


KILLED = """
import sys
from pathlib import Path
from distill.retrieval import index
from distill.retrieval.encoder import Encoder
sys.path.insert(0, {tests!r})
from test_index import PASSAGES, Letters
index.SHARD = 8
index.build(Path({folder!r}), Encoder(Letters(dies_after=24), "letters"), PASSAGES)
"""


def test_a_killed_build_goes_on_from_the_last_whole_shard(tmp_path: Path, shards_of_8: None) -> None:
    folder = tmp_path / "index"
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(DataError, match=r"has 3 of 7 shards; run `distill index` again"):
        DenseIndex(folder)
    letters = Letters()
    resumed = build(folder, Encoder(letters, "letters"), PASSAGES)
    assert letters.encoded == len(PASSAGES) - 24
    whole = build(tmp_path / "whole", Encoder(Letters(), "letters"), PASSAGES)
    queries = Encoder(Letters(), "letters").queries(["aab"])
    assert resumed.top(queries, 50) == whole.top(queries, 50)
    again = Letters()
    build(folder, Encoder(again, "letters"), PASSAGES)
    assert again.encoded == 0


@pytest.mark.parametrize(
    ("model", "passages", "what"),
    [("other", PASSAGES, "another model"), ("letters", {**PASSAGES, "d07": "other"}, "other passages")],
)
def test_no_index_is_mixed(model: str, passages: dict[str, str], what: str, tmp_path: Path) -> None:
    build(tmp_path, Encoder(Letters(), "letters"), PASSAGES)
    with pytest.raises(ConfigError, match=f"holds an index of {what}"):
        build(tmp_path, Encoder(Letters(), model), passages)
    with pytest.raises(ConfigError, match="was made with another model"):
        DenseIndex(tmp_path).check(Encoder(Letters(), "other"))


def test_broken_vectors_and_empty_corpora_are_refused(tmp_path: Path) -> None:
    class Broken(Letters):
        def encode_document(self, texts: list[str]) -> Any:
            return np.full((len(texts), 2), np.nan)

    with pytest.raises(ConfigError, match="NaN"):
        build(tmp_path / "a", Encoder(Broken(), "broken"), PASSAGES)
    with pytest.raises(DataError, match="no passages"):
        build(tmp_path / "b", Encoder(Letters(), "letters"), {})
    with pytest.raises(DataError, match="holds no index"):
        DenseIndex(tmp_path / "c")


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    lists = [[("a", 9.0), ("b", 8.0), ("c", 1.0)], [("c", 0.9), ("a", 0.8)]]
    fused = reciprocal_ranks(lists)
    assert fused == [("a", 1 / 61 + 1 / 62), ("c", 1 / 63 + 1 / 61), ("b", 1 / 62)]
    assert [doc for doc, _ in reciprocal_ranks([[("a", 1.0)], [("b", 1.0)]])] == ["b", "a"]
