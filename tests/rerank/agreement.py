"""All backends agree: the same weights give the same scores, tokens and ends, within a stated tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from distill.records import Judgement, Pair
from distill.rerank.backends.base import Backend
from distill.rerank.backends.transformers import TransformersBackend
from distill.rerank.reranker import Reranker

TOLERANCE = 1e-3  # in log-odds, float32 on a CPU; docs/reranking.md


def judged(backend: Backend, pairs: Sequence[Pair]) -> dict[str, list[Judgement]]:
    """The pairs in every mode that an engine can be told apart by."""
    return {
        "think": Reranker(backend, "think", max_new_tokens=24).predict(pairs),
        "budget": Reranker(backend, "budget", budget=3).predict(pairs),
        "direct": Reranker(backend, "direct").predict(pairs),
        "verdict_first": Reranker(backend, "verdict_first", explanations=True, max_new_tokens=12).predict(pairs),
    }


def agree(backend: Backend, student: Path, pairs: Sequence[Pair]) -> None:
    """Compare a backend with transformers. Also that the pairs are worth comparing: several ends, several lengths."""
    ours, theirs = judged(TransformersBackend(str(student)), pairs), judged(backend, pairs)
    for mode, expected in ours.items():
        found = theirs[mode]
        assert [j.reasoning for j in found] == [j.reasoning for j in expected], mode
        assert [j.finish_reason for j in found] == [j.finish_reason for j in expected], mode
        assert [j.tokens for j in found] == [j.tokens for j in expected], mode
        assert [j.margin for j in found] == pytest.approx([j.margin for j in expected], abs=TOLERANCE), mode
        assert [j.verdict for j in found] == [j.verdict for j in expected], mode
    assert len({j.finish_reason for j in ours["think"]}) >= 2
    assert len({j.tokens for j in ours["think"]}) >= 4
    margins = [j.margin for j in ours["direct"]]
    assert max(margins) - min(margins) > 100 * TOLERANCE
