"""What clients are sent: the answers of each protocol, made of the judgements. For the routes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from distill.records import UNJUDGED, Judgement
from distill.rerank.fusion import Fusion, fuse
from distill.rerank.serve.schemas import Asked, ExplainRequest, RerankBody, TextsBody


def ranked(
    asked: RerankBody,
    judgements: Sequence[Judgement],
    model: str,
    version: int,
    fusion: Fusion | None = None,
    *,
    calibrated: bool = False,
    request_id: str = "",
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The answer: the best first, `relevance_score` in [0, 1]; ties of a saturated score are broken by the margin.

    With `fusion` and first-stage scores the order is by `fused_score`, which each result then has.
    `usage` counts the tokens that the student wrote. Keys of both protocols are given. Documents that were not judged
    in time come last, in the order given, and `meta.unjudged` counts them. Where documents are left out for their
    score, `meta.scores` says whether it is calibrated.
    """
    shown = version == 1 if asked.return_documents is None else asked.return_documents
    judged = [at for at, judgement in enumerate(judgements) if judgement.mode != UNJUDGED]
    margins = {judgements[at].doc_id: judgements[at].margin for at in judged}
    first = asked.first_stage_scores()
    fused = fuse(margins, first, fusion.weight) if fusion and first and margins else {}
    scores = fused or margins
    order = sorted(judged, key=lambda at: -scores[judgements[at].doc_id])
    order += [at for at, judgement in enumerate(judgements) if judgement.mode == UNJUDGED]
    warnings = [*warnings, *asked.warnings()]
    if first and not fusion:
        warnings.append("first_stage_score has no effect: no weight was chosen for this student (distill calibrate)")
    meta: dict[str, Any] = {"api_version": {"version": str(version)}, "billed_units": {"search_units": 1}}
    if len(judged) < len(judgements):
        meta[UNJUDGED] = len(judgements) - len(judged)
    if asked.score_threshold is not None:
        order = [at for at in order if judgements[at].score >= asked.score_threshold]
        meta["scores"] = "calibrated" if calibrated else "not calibrated"
    results = []
    for at in order[: asked.top_n]:
        judgement = judgements[at]
        row: dict[str, Any] = {"index": at, "relevance_score": judgement.score, "mode": mode_of(judgement)}
        if judgement.doc_id in fused:
            row["fused_score"] = fused[judgement.doc_id]
        if shown:
            row["document"] = asked.given(at)
        if asked.return_reasoning:
            row["reasoning"] = judgement.reasoning
            row["finish_reason"] = judgement.finish_reason
        results.append(row)
    return {
        "id": request_id or str(uuid.uuid4()),
        "model": model,
        "object": "list",
        "results": results,
        "usage": _usage(judgements),
        "meta": meta | ({"warnings": warnings} if warnings else {}),
    }


def mode_of(judgement: Judgement) -> str:
    """How a document was judged: `think`, `direct`, …, or `unjudged`; of mode adaptive the part that it was."""
    return judgement.mode.removeprefix("adaptive.")


def bare(asked: TextsBody, judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """The list of Text Embeddings Inference: `index` and `score`, the best first."""
    rows = []
    for at in sorted(range(len(judgements)), key=lambda at: -judgements[at].margin):
        row: dict[str, Any] = {
            "index": at,
            "score": judgements[at].margin if asked.raw_scores else judgements[at].score,
        }
        rows.append(row | {"text": asked.texts[at]} if asked.return_text else row)
    return rows


def scored(asked: Asked, judgements: Sequence[Judgement], model: str, request_id: str = "") -> dict[str, Any]:
    """vLLM's answer to `/score`: one score a pair, in the order given."""
    warnings = asked.warnings()
    return {
        "id": request_id or str(uuid.uuid4()),
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [{"index": at, "object": "score", "score": each.score} for at, each in enumerate(judgements)],
        "usage": _usage(judgements),
        **({"meta": {"warnings": warnings}} if warnings else {}),
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
        "usage": _usage([judgement]),
        "meta": {"warnings": asked.warnings()} if asked.warnings() else {},
    }


def _usage(judgements: Sequence[Judgement]) -> dict[str, int]:
    return {"total_tokens": sum(judgement.tokens for judgement in judgements)}
