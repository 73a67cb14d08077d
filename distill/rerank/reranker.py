"""Pairs to judgements, in the modes `think` and `direct`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from distill.prompts import END_THINK
from distill.records import Judgement, Pair
from distill.rerank.decode import Decoded, read_verdicts, think
from distill.rerank.student import MAX_REASONING, Student, load

Mode = Literal["think", "direct"]


class Reranker:
    """A student that judges pairs: score = P(true) / (P(true) + P(false)) at the position after `</think>` (Rank1).

    `mode` is `think` (reason first) or `direct` (the empty block prefilled, one token a pair). `batch` rows go through
    the model at once; `max_new_tokens` bounds the reasoning, and half of the context does where that is less.
    """

    def __init__(
        self, model: str | Student, mode: Mode = "think", batch: int = 128, max_new_tokens: int = MAX_REASONING
    ):
        self.student = load(model) if isinstance(model, str) else model
        self.mode = mode
        self.batch = batch
        self.max_new_tokens = min(max_new_tokens, self.student.context // 2)

    def predict(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement a pair, in the order given. `tokens` counts what the student had to write."""
        room = len(self.student.close) + 1 + (self.max_new_tokens if self.mode == "think" else 0)
        prompts, cut = self.student.prompts(pairs, room)
        if self.mode == "direct":
            close = self.student.close
            logits = read_verdicts(self.student, [row + close for row in prompts], self.batch)
            decoded = [Decoded([], true, false, "stop") for true, false in logits]
        else:
            decoded = think(self.student, prompts, self.max_new_tokens, self.batch)
        return [self._judgement(p, d, c) for p, d, c in zip(pairs, decoded, cut, strict=True)]

    def _judgement(self, pair: Pair, decoded: Decoded, cut: bool) -> Judgement:
        margin = decoded.true - decoded.false
        text = self.student.tokenizer.decode(decoded.ids) if decoded.ids else ""
        return Judgement(
            query_id=pair.query_id,
            doc_id=pair.doc_id,
            score=1 / (1 + math.exp(-margin)) if margin > -700 else 0.0,
            margin=margin,
            verdict=1 if margin > 0 else 0,
            reasoning=text.removesuffix(END_THINK).strip(),
            mode=self.mode,
            tokens=len(decoded.ids) + 1,
            finish_reason="cut" if cut and decoded.finish_reason == "stop" else decoded.finish_reason,
        )
