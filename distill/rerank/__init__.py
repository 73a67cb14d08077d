"""Reranking with a trained student: a score and its reasons for each pair of a query and a passage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.records import Judgement
    from distill.rerank.reranker import AlikeScores, Ranked, Reranker

__all__ = ["AlikeScores", "Judgement", "Ranked", "Reranker"]


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from distill.rerank import reranker

    return getattr(reranker, name)
