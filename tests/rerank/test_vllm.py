"""The vllm backend, and the openai backend against vLLM's own server, with a tiny model on the CPU build.

Skipped where vLLM is not installed; `make test-vllm` makes an environment where it is.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.records import Pair
from distill.rerank.backends.base import Task
from distill.rerank.jobs import Student, job_of
from distill.rerank.reranker import Reranker
from distill.rerank.scorer import Scorer
from distill.rerank.settings import ScoringSettings
from tests.rerank.agreement import agree
from tests.rerank.vllm_server import CPU, vllm_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"),
]


@pytest.fixture(scope="module")
def engine(ending: Path) -> Iterator:
    os.environ.update(CPU)
    from distill.rerank.backends.vllm import VllmBackend

    made = VllmBackend(str(ending), batch=16)
    yield made
    made.close()


def test_the_engine_agrees_with_transformers(engine, ending: Path, few_pairs: list[Pair]) -> None:
    agree(engine, ending, few_pairs)


def test_a_task_given_up_leaves_the_engine(engine, few_pairs: list[Pair]) -> None:
    row = engine.form.tokenizer.encode("the red fox runs", add_special_tokens=False)
    long, short = Task(row, few_pairs[0], 200, to_end=False), Task(row, few_pairs[0])
    engine.add(long)
    engine.step()
    engine.add(short)
    engine.drop(long)
    ended = []
    for _ in range(20):
        ended += engine.step()
    assert [task for task, _ in ended] == [short] and not engine._engine.has_unfinished_requests()


def test_samples_differ_and_their_seed_repeats_them(engine, few_pairs: list[Pair]) -> None:
    def subsample(seed: int) -> list[float]:
        made = Reranker(engine, "think", max_new_tokens=12, samples=3, temperature=1.0, seed=seed)
        return [j.margin for j in made.predict(few_pairs[:3])]

    first = subsample(1)
    assert subsample(1) == pytest.approx(first, abs=1e-3) and subsample(2) != pytest.approx(first, abs=1e-3)


@pytest.mark.timeout(900)  # a process that imports vLLM and starts it
@pytest.mark.parametrize("mode", ["direct", "think"])
def test_the_scorer_runs_it_in_a_process_of_its_own(
    mode: str, ending: Path, few_pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `scoring: {backend: vllm, actors: 1, engine: ...}` has it."""
    for name, value in CPU.items():
        monkeypatch.setenv(name, value)
    settings = ScoringSettings(backend="vllm", actors=1, batch=8, dtype="float32", engine={"max_model_len": 256})
    with Scorer() as scorer:
        student = Student(str(ending), mode, settings, max_new_tokens=12)
        (judged,) = scorer.score([job_of("one", student, few_pairs)])
    expected = Reranker(str(ending), mode, "transformers", max_new_tokens=12, dtype="float32").predict(few_pairs)
    assert [row.margin for row in judged.found] == pytest.approx([row.margin for row in expected], abs=1e-3)
    assert [row.reasoning for row in judged.found] == [row.reasoning for row in expected]


@pytest.fixture(scope="module")
def url(ending: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with vllm_server(ending, log, "--max-model-len", "256") as address:
        yield address


def test_a_server_of_vllm_agrees_with_transformers(url: str, ending: Path, few_pairs: list[Pair]) -> None:
    from distill.rerank.backends.openai import OpenAIBackend

    backend = OpenAIBackend(str(ending), url, batch=8)
    assert backend.exact and backend.form.context == 256
    agree(backend, ending, few_pairs)
    backend.close()


def test_a_text_that_repeats_itself_is_ended(tiny: Path, tmp_path: Path, few_pairs: list[Pair]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.rerank.backends.vllm import VllmBackend

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    with torch.no_grad():  # every logit is 0, so that the first token of the vocabulary is written for ever
        model.get_output_embeddings().weight.zero_()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = VllmBackend(str(tmp_path), batch=4)
    ended = Reranker(engine, "think", max_new_tokens=40).predict(few_pairs[:3])
    run = Reranker(engine, "think", max_new_tokens=40, loops="run").predict(few_pairs[:3])
    engine.close()
    assert [j.finish_reason for j in ended] == ["looped"] * 3 and [j.finish_reason for j in run] == ["length"] * 3
