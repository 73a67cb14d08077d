"""sentence-transformers: a student where a `CrossEncoder` is expected, by its methods (sentence-transformers 6).

The evaluators of `sentence_transformers.cross_encoder.evaluation` run on it. Not covered: training with it, and
`activation_fn`, since scores are probabilities already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from distill.errors import InputError
from distill.rerank.adapters import Judge, pairs_of

NO_EFFECT = "batch_size, show_progress_bar, device, pool, chunk_size: the reranker has its own batching"


class CrossEncoder:
    """`predict` and `rank` as sentence-transformers has them; `instruction` goes with every query.

    `scores`: `probability` in [0, 1], or `margin`, the log-odds, which do not tie where probabilities are saturated.
    """

    num_labels = 1

    def __init__(
        self,
        reranker: Judge,
        instruction: str | None = None,
        scores: Literal["probability", "margin"] = "probability",
    ) -> None:
        self.reranker, self.instruction, self.scores = reranker, instruction, scores
        self.model_card_data = _Card()

    def predict(
        self,
        inputs: Sequence[Any] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        sentences: Sequence[Any] | None = None,
        activation_fn: Any = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **ignored: Any,
    ) -> Any:
        """Scores of (query, text) pairs: a numpy array of shape (pairs,), a tensor or a list as asked; of one pair,
        one number. `prompt` is an instruction for these pairs. Raises InputError for what is no pair of texts."""
        given = inputs if inputs is not None else sentences
        if given is None:
            raise InputError("predict needs pairs of (query, text)")
        if prompt_name is not None:
            raise InputError(f"prompt_name {prompt_name!r}: there are no named prompts; give prompt or instruction")
        single = len(given) == 2 and all(isinstance(each, str) for each in given)
        pairs = [given] if single else list(given)
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(each, str) for each in pair):
                raise InputError(f"predict takes pairs of (query, text), this is {pair!r:.80}")
        rows = [(query, text, prompt or self.instruction) for query, text in pairs]
        values = [j.margin if self.scores == "margin" else j.score for j in self.reranker.predict(pairs_of(rows))]
        if convert_to_tensor:
            import torch

            found: Any = torch.tensor(values, dtype=torch.float64)
        elif convert_to_numpy:
            import numpy as np

            found = np.array(values, dtype=np.float64)
        else:
            found = values
        return found[0] if single else found

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt: str | None = None,
        **ignored: Any,
    ) -> list[dict[str, Any]]:
        """[{corpus_id, score, text?}], best first."""
        rows = [(query, text, prompt or self.instruction) for text in documents]
        found = self.reranker.predict(pairs_of(rows))
        order = sorted(range(len(found)), key=lambda at: -found[at].margin)[:top_k]
        ranked = []
        for at in order:
            score = found[at].margin if self.scores == "margin" else found[at].score
            ranked.append({"corpus_id": at, "score": score, **({"text": documents[at]} if return_documents else {})})
        return ranked


class _Card:
    """Where evaluators leave their figures; nothing is written from it."""

    def __init__(self) -> None:
        self.metrics: list[tuple[str, dict[str, Any]]] = []

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0) -> None:
        """Keep an evaluator's figures."""
        self.metrics.append((type(evaluator).__name__, dict(metrics)))
