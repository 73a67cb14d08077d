"""The target `encoder`. Found by `sft.targets`."""

from __future__ import annotations

from sft.targets.base import PairTarget


class Encoder(PairTarget):
    """A cross-encoder: query and passage read together by an encoder, one score out (docs/encoders.md)."""

    trainer = "sft.encoder"
    losses = ("bce", "mse", "margin_mse", "listwise")
    training = {"learning_rate": 2e-5, "per_device_train_batch_size": 32, "num_train_epochs": 3.0}
    scratch = {"learning_rate": 1e-3}
