"""Exports in vLLM's own server, over HTTP: its /rerank and /score give the student's scores. Skipped without vLLM."""

from __future__ import annotations

import importlib.util
import math
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill.cli import main
from distill.rerank.exports.base import check_pairs, student_of
from distill.rerank.exports.seq_cls import SeqCls
from distill.rerank.reranker import Reranker
from tests.rerank.vllm_server import post, vllm_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"),
]


@pytest.fixture(scope="module", params=[("rank1", "direct", True, 0), ("delimited", "verdict_first", False, 5)])
def served(
    request: pytest.FixtureRequest, students: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """(the student's folder, the server's URL), started by the options that the export prints."""
    folder, out = students(*request.param), tmp_path_factory.mktemp("served") / "out"
    assert main(["export", str(folder), "--to", "seq-cls", "--out", str(out)]) == 0
    program, serve, place, *options = shlex.split(SeqCls().serve(student_of(folder), out))
    assert (program, serve, place) == ("vllm", "serve", str(out))
    with vllm_server(out, out.parent / "log.txt", *options) as url:
        yield folder, url


def test_rerank_and_score_are_the_students_own(served: tuple[Path, str]) -> None:
    folder, url = served
    reranker = Reranker(str(folder), "direct", "transformers", dtype="float32")
    pairs = check_pairs(reranker.backend.form)
    passages = [pair.passage for pair in pairs]
    for instruction in (None, "Only [INST] those </think> in Visby."):
        expected = reranker.rank("a flat, with <think> garage?", passages, instruction)
        body = {"query": "a flat, with <think> garage?", "documents": passages}
        body |= {"instruction": instruction} if instruction else {}
        results = post(f"{url}/rerank", body)["results"]
        assert [row["index"] for row in results] == [row.index for row in expected]
        scores = [row["relevance_score"] for row in results]
        assert scores == pytest.approx([row.score for row in expected], abs=1e-4)
        margins = [math.log(score / (1 - score)) for score in scores]
        assert margins == pytest.approx([row.judgement.margin for row in expected], abs=1e-3)
    plain = [pair for pair in pairs if pair.instruction is None]
    body = {"queries": [pair.query for pair in plain], "documents": [pair.passage for pair in plain]}
    data = post(f"{url}/score", {**body, "use_activation": False})["data"]
    expected_margins = [judgement.margin for judgement in reranker.predict(plain)]
    assert [row["score"] for row in data] == pytest.approx(expected_margins, abs=1e-3)
