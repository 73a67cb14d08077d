"""Held-out pairs scored while a student that writes nothing trains (`sft.dev`). Used by `sft.encoder`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from distill.prompts import query_text
from distill.records import Pair
from distill.store import read_rows
from sft.settings import DevSettings
from sft.training_job import TrainingJob
from sft.validation import measures

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import BaseEvaluator


def held_out(job: TrainingJob, settings: DevSettings) -> BaseEvaluator:
    """An evaluator of sentence-transformers with the measures by which `sft.dev` chooses, of the job's held-out pairs.

    Their passages are cut to what the encoder reads.
    """
    import torch
    from sentence_transformers.base.evaluation import BaseEvaluator

    pairs = [pair for pair in read_rows(job["dev"], Pair) if pair.relevant is not None]
    if settings.score is not None and settings.score < len(pairs):
        pairs = random.Random("dev").sample(pairs, settings.score)
    texts = [(query_text(pair.query, pair.instruction), pair.passage) for pair in pairs]

    class HeldOut(BaseEvaluator):
        def __call__(self, model: Any, output_path: Any = None, epoch: float = -1, steps: int = -1) -> dict[str, float]:
            scores = model.predict(texts, batch_size=settings.batch, activation_fn=torch.nn.Sigmoid())
            return measures(scores.tolist(), pairs)

    evaluator: BaseEvaluator = HeldOut()  # type: ignore[no-untyped-call]
    return evaluator
