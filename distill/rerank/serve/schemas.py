"""What clients send and are sent: the rerank protocols of Jina (`/v1`) and Cohere (`/v1`, `/v2`), and `/v1/explain`.

`instruction` and `return_reasoning` are ours. A key that is not known is not an error, since the protocols grow; it is
named in `meta.warnings`, so that a misspelt one does not pass unseen.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from distill.records import Judgement
from distill.rerank.fusion import Fusion, fuse
from distill.texts import clean_text, passage_text

# Parts of the two protocols that change nothing here: cost and cutting are decided by the server's own settings.
WITHOUT_EFFECT = ("max_tokens_per_doc", "max_chunks_per_doc", "rank_fields", "priority", "truncation", "user")


def _clean(value: object) -> object:
    """A text as `make_pair` has it, before pydantic refuses half a surrogate pair; other values are pydantic's."""
    return clean_text(value) if isinstance(value, str) else value


def _clean_query(value: object) -> object:
    """A query of nothing but such halves asks nothing: it stays as it is, so that pydantic refuses it."""
    return value if isinstance(value, str) and all("\ud800" <= sign <= "\udfff" for sign in value) else _clean(value)


def _clean_title(value: object) -> object:
    return "" if value is None or value != value else _clean(value)


Text = Annotated[str, BeforeValidator(_clean)]


class Document(BaseModel):
    """A passage as an object."""

    model_config = ConfigDict(extra="ignore")

    text: Text
    first_stage_score: float | None = Field(
        None, allow_inf_nan=False, description="the score that found it: where the student has a weight, they are fused"
    )
    title: Annotated[str, BeforeValidator(_clean_title)] = ""

    @property
    def passage(self) -> str:
        """Title and text as in training."""
        return passage_text(self.title, self.text)


class Asked(BaseModel):
    """What both requests share."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    mode: str | None = Field(None, description="if given, the mode that the server was started with")
    query: Annotated[str, BeforeValidator(_clean_query)] = Field(min_length=1)
    instruction: Text | None = Field(None, description="who wants what, in addition to the query; a field of its own")

    def warnings(self) -> list[str]:
        """The keys that have no effect."""
        return [
            f"{name} has no effect here" if name in WITHOUT_EFFECT else f"{name} is not known here"
            for name in self.__pydantic_extra__ or {}
        ]


class RerankBody(Asked):
    """`POST /v1/rerank` and `/v2/rerank`."""

    documents: list[Text | Document] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = Field(None, description="default: true for /v1 as in Jina's, false for /v2")
    return_reasoning: bool = False

    def first_stage_scores(self) -> dict[str, float]:
        """{number of the document: its first-stage score} of those that have one."""
        scores = {
            str(at): each.first_stage_score for at, each in enumerate(self.documents) if isinstance(each, Document)
        }
        return {at: score for at, score in scores.items() if score is not None}

    def passages(self) -> list[str]:
        """The documents' texts."""
        return [each if isinstance(each, str) else each.passage for each in self.documents]


class ExplainRequest(Asked):
    """`POST /v1/explain`."""

    document: Text | Document

    def passages(self) -> list[str]:
        """The one document's text."""
        return [self.document if isinstance(self.document, str) else self.document.passage]


def ranked(
    asked: RerankBody, judgements: Sequence[Judgement], model: str, version: int, fusion: Fusion | None = None
) -> dict[str, Any]:
    """The answer: the best first, `relevance_score` in [0, 1]; ties of a saturated score are broken by the margin.

    With `fusion` and first-stage scores the order is by `fused_score`, which each result then has.
    `usage` counts the tokens that the student wrote. Keys of both protocols are given.
    """
    shown = version == 1 if asked.return_documents is None else asked.return_documents
    margins, first = {judgement.doc_id: judgement.margin for judgement in judgements}, asked.first_stage_scores()
    fused = fuse(margins, first, fusion.weight) if fusion and first else None
    scores = fused or margins
    order = sorted(range(len(judgements)), key=lambda at: -scores[judgements[at].doc_id])[: asked.top_n]
    warnings = asked.warnings()
    if first and not fusion:
        warnings.append("first_stage_score has no effect: no weight was chosen for this student (distill calibrate)")
    results = []
    for at in order:
        row: dict[str, Any] = {"index": at, "relevance_score": judgements[at].score}
        if fused:
            row["fused_score"] = fused[judgements[at].doc_id]
        if shown:
            row["document"] = {"text": asked.passages()[at]}
        if asked.return_reasoning:
            row["reasoning"] = judgements[at].reasoning
            row["finish_reason"] = judgements[at].finish_reason
        results.append(row)
    tokens = sum(judgement.tokens for judgement in judgements)
    meta: dict[str, Any] = {"api_version": {"version": str(version)}, "billed_units": {"search_units": 1}}
    return {
        "id": str(uuid.uuid4()),
        "model": model,
        "object": "list",
        "results": results,
        "usage": {"total_tokens": tokens},
        "meta": meta | ({"warnings": warnings} if warnings else {}),
    }


def explained(asked: ExplainRequest, judgement: Judgement, model: str) -> dict[str, Any]:
    """The judgement of one pair, with its reasoning."""
    return {
        "model": model,
        "relevance_score": judgement.score,
        "verdict": None if judgement.verdict is None else bool(judgement.verdict),
        "margin": judgement.margin,
        "reasoning": judgement.reasoning,
        "finish_reason": judgement.finish_reason,
        "mode": judgement.mode,
        "usage": {"total_tokens": judgement.tokens},
        "meta": {"warnings": asked.warnings()} if asked.warnings() else {},
    }
