"""Held-out pairs scored while a student that writes nothing trains (`sft.dev`). Used by `sft.encoder`
and `sft.retriever.train`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from distill.prompts import query_text
from distill.records import Pair
from distill.store import read_rows
from sft.settings import DevSettings
from sft.training_job import TrainingJob
from sft.validation import measures

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import BaseEvaluator


Texts = Sequence[tuple[str, str]]  # (query with its instruction, passage)


def held_out(
    job: TrainingJob, settings: DevSettings, scores_of: Callable[[Any, Texts, int], Sequence[float]]
) -> BaseEvaluator:
    """An evaluator of sentence-transformers with the measures by which `sft.dev` chooses, of the job's held-out pairs.

    `scores_of` gives the scores of a model for texts in batches of so many; accuracy is measured of `probabilities`
    alone. Passages are cut to what the model reads.
    """
    from sentence_transformers.base.evaluation import BaseEvaluator

    pairs = [pair for pair in read_rows(job["dev"], Pair) if pair.relevant is not None]
    if settings.score is not None and settings.score < len(pairs):
        pairs = random.Random("dev").sample(pairs, settings.score)
    texts = [(query_text(pair.query, pair.instruction), pair.passage) for pair in pairs]

    class HeldOut(BaseEvaluator):
        def __call__(self, model: Any, output_path: Any = None, epoch: float = -1, steps: int = -1) -> dict[str, float]:
            measured = measures(scores_of(model, texts, settings.batch), pairs)
            if scores_of is not probabilities:
                del measured["accuracy"]
            return measured

    evaluator: BaseEvaluator = HeldOut()  # type: ignore[no-untyped-call]
    return evaluator


def probabilities(model: Any, texts: Texts, batch: int) -> list[float]:
    """A cross-encoder's scores."""
    import torch

    scores: list[float] = model.predict(texts, batch_size=batch, activation_fn=torch.nn.Sigmoid()).tolist()
    return scores


def similarities(model: Any, texts: Texts, batch: int) -> list[float]:
    """A bi-encoder's scores; each text is encoded once."""
    queries, passages = (list(dict.fromkeys(column)) for column in zip(*texts, strict=True))
    of_queries = model.encode_query(queries, batch_size=batch, show_progress_bar=False)
    of_passages = model.encode_document(passages, batch_size=batch, show_progress_bar=False)
    row, column = ({text: number for number, text in enumerate(each)} for each in (queries, passages))
    one = of_queries[[row[query] for query, _ in texts]]
    other = of_passages[[column[passage] for _, passage in texts]]
    scores: list[float] = model.similarity_pairwise(one, other).tolist()
    return scores
