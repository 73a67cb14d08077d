"""Exports in vLLM's own server, over HTTP: its /rerank and /score give the student's scores. Skipped without vLLM."""

from __future__ import annotations

import importlib.util
import math
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill.cli import main
from distill.records import Pair
from distill.rerank.exports.base import check_pairs, student_of
from distill.rerank.exports.seq_cls import SeqCls
from distill.rerank.reranker import Reranker
from tests.rerank.serving import post as ask
from tests.rerank.serving import serving
from tests.rerank.tiny_students import load_file
from tests.rerank.vllm_server import post, vllm_server

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "use-your-student.md"
BOUND = 40  # tokens of a reasoning

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a process that imports vLLM and starts it
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


def test_the_guides_client_orders_a_thinking_students_passages_as_our_server_does(
    ending: Path, few_pairs: list[Pair], tmp_path: Path
) -> None:
    """Texts that end by themselves; those closed by force are not compared."""
    (code,) = re.findall(
        r"^```python\n(import json\nimport math\n.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S
    )
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    reranker = Reranker(str(ending), "think", "transformers", dtype="float32", max_new_tokens=BOUND, loops="run")
    passages = sorted({pair.passage for pair in few_pairs})
    with vllm_server(ending, tmp_path / "log.txt", "--max-model-len", "256") as url:
        code = code.replace("http://127.0.0.1:8000", url.removesuffix("/v1"))
        file = tmp_path / "client.py"
        file.write_text(code.replace('"FOLDER", 1024', f'"{ending}", {BOUND}'), encoding="utf-8")
        client = load_file(file)
        theirs = client.rerank("red fox <think>", passages)
    with serving(reranker.stream()) as server:
        status, answer, _ = ask(f"{server.url}/v1/rerank", {"query": "red fox <think>", "documents": passages})
    assert status == 200
    assert [index for index, _ in theirs] == [row["index"] for row in answer["results"]]
    scores = [row["relevance_score"] for row in answer["results"]]
    assert [score for _, score in theirs] == pytest.approx(scores, abs=1e-3)
    judgements = reranker.predict([("red fox <think>", passage) for passage in passages])
    assert {judgement.finish_reason for judgement in judgements} == {"stop"}, "what is compared ended by itself"
