"""What all prompts of a batch begin with is read once, and changes no score."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.records import Pair, make_pair
from distill.rerank import scorer
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.jobs import Student, job_of
from distill.rerank.modes import Mode
from distill.rerank.reranker import Reranker
from distill.rerank.settings import ScoringSettings

ONE_QUERY = [make_pair("q", str(n), "a long query about red foxes", "dog " * (n % 4 + 1)) for n in range(12)]
QUERIES = [make_pair(f"q{n % 5}", str(n), f"{n % 5} foxes", f"the dog {n} " * (n % 4 + 1)) for n in range(20)]


@pytest.mark.parametrize("pairs", [ONE_QUERY, QUERIES], ids=["one query", "queries"])
@pytest.mark.parametrize("mode", ["direct", "think"])
def test_each_pair_is_judged_as_it_is_alone(tiny: Path, pairs: list[Pair], mode: Mode) -> None:
    student = Reranker(TransformersBackend(str(tiny), device="cpu", dtype="float32"), mode, max_new_tokens=12)
    alone = [student.predict([pair])[0] for pair in pairs]
    for together, one in zip(student.predict(pairs), alone, strict=True):
        assert together.margin == pytest.approx(one.margin, abs=1e-4)
        assert together.reasoning == one.reasoning


def test_the_beginning_is_read_once(tiny: Path) -> None:
    backend = TransformersBackend(str(tiny), device="cpu", dtype="float32")
    read: list[torch.Size] = []
    embeddings = backend.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, given, made: read.append(given[0].shape))
    Reranker(backend, "direct").predict(ONE_QUERY)
    prompts = [len(each.rows[0]) + len(backend.form.close) for each in backend.form.prompts(ONE_QUERY, 8)]
    (one, shared), (rows, longest) = read
    assert one == 1 and rows == len(ONE_QUERY) and shared + longest == max(prompts)
    assert shared > 20


def test_one_pair_twice_keeps_a_token_of_its_own(tiny: Path) -> None:
    """Prompts of the same tokens: the last one is not part of what is shared."""
    student = Reranker(TransformersBackend(str(tiny), device="cpu", dtype="float32"), "direct")
    same = [make_pair("q", str(n), "fox", "dog") for n in range(3)]
    margins = [judgement.margin for judgement in student.predict(same)]
    assert margins == pytest.approx([student.predict(same[:1])[0].margin] * 3, abs=1e-4)


def test_many_pairs_of_a_query_are_read_together(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the queries mix, what is shared is the instruction alone; the scores are the same."""
    pairs = [
        make_pair(f"q{query}", str(n), f"foxes {query} of the wood", f"the dog {n} " * (n % 5 + 1))
        for query in range(3)
        for n in range(40)
    ]
    random.Random(0).shuffle(pairs)
    batches: list[set[str]] = []
    read = TransformersBackend._read

    def noted(self: TransformersBackend, tasks: list[Any], verdicts: bool) -> Any:
        batches.append({task.pair.query_id for task in tasks})
        return read(self, tasks, verdicts)

    monkeypatch.setattr(TransformersBackend, "_read", noted)
    settings = ScoringSettings(backend="transformers", dtype="float32")
    job = job_of("direct", Student(str(tiny), "direct", settings, device="cpu"), pairs)

    def scored() -> tuple[list[float], int]:
        batches.clear()
        with scorer.Scorer() as judges:
            (judged,) = judges.score([job])
        return [judgement.margin for judgement in judged.found], sum(len(queries) == 1 for queries in batches)

    together, alone = scored()
    assert alone > len(batches) / 2
    monkeypatch.setattr(scorer, "MANY", len(pairs))
    apart, _ = scored()
    assert together == pytest.approx(apart, abs=1e-4)
