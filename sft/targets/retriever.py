"""The target `retriever`. Found by `sft.targets`."""

from __future__ import annotations

from sft.targets.base import PairTarget


class Retriever(PairTarget):
    """A bi-encoder that follows instructions: query and passage read apart, one vector each (docs/encoders.md).

    It is no system of the evaluation: it gives the lists that the others rerank, `first_stage: {retriever: NAME}`.
    """

    trainer = "sft.retriever.train"
    losses = ("infonce", "margin_mse")
    training = {"learning_rate": 2e-5, "per_device_train_batch_size": 32, "num_train_epochs": 1.0}
    scratch = {"learning_rate": 1e-3}
    reranks = False
