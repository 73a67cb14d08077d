"""TRL's SFTTrainer, with the loss computed where the labels are, and an order of pairs that every target shares."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTConfig, SFTTrainer


class PairOrder(Sampler[int]):
    """A seeded shuffle, then rows of like length side by side within 32 batches, the batches shuffled again.

    `lengths` are prompt tokens, which all targets share, so `think` and `direct` students see the same pairs in the
    same order. Less padding is the gain: 1.5 times the tokens a second on a CPU against a plain shuffle.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch; a resumed run gets the order of the undisturbed one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}:{self.epoch}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        window = self.batch * 32
        batches = []
        for start in range(0, len(order), window):
            near = sorted(order[start : start + window], key=lambda i: self.lengths[i])
            batches += [near[i : i + self.batch] for i in range(0, len(near), self.batch)]
        short = [b for b in batches if len(b) < self.batch]  # the last one: a batch that is not full ends the epoch
        whole = [b for b in batches if len(b) == self.batch]
        rng.shuffle(whole)
        yield from (i for b in whole + short for i in b)


class StudentTrainer(SFTTrainer):
    """SFTTrainer that, off the GPU, computes logits only from the first target position on.

    TRL's fused head scores every position where there is no Triton. Rows are padded on the right and attention is
    causal, so the padding needs no mask and sdpa keeps its fast path; packed rows and GPUs take TRL's own way.
    """

    args: SFTConfig

    def __init__(self, *args: Any, order_lengths: Sequence[int], muon: bool = False, **kwargs: Any) -> None:
        self.order_lengths, self.use_muon = order_lengths, muon
        super().__init__(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's own, or Muon where the settings say so."""
        if not self.use_muon or self.optimizer is not None:
            return super().create_optimizer(*args, **kwargs)
        from sft.muon import MuonAdamW

        given = self.args
        betas = (given.adam_beta1, given.adam_beta2)
        self.optimizer = MuonAdamW(self.model, given.learning_rate, betas, given.adam_epsilon, given.weight_decay)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.packing:
            return super()._get_train_sampler(train_dataset)
        per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return PairOrder(self.order_lengths, per_step, self.args.data_seed or self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the completion tokens of the whole (accumulated) batch."""
        labels = inputs["labels"]
        if labels.is_cuda or self.args.packing or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        first = int((labels != -100).int().argmax(dim=1).min())
        targets = labels[:, first:]
        logits = model(
            input_ids=inputs["input_ids"], logits_to_keep=labels.shape[1] - first + 1, use_cache=False
        ).logits[:, :-1]
        mask = targets != -100
        chosen, wanted = logits[mask], targets[mask]
        count = mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = torch.nn.functional.cross_entropy(chosen.float(), wanted, reduction="sum") / count
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        mode = "train" if model.training else "eval"
        with torch.no_grad():
            self._metrics[mode]["mean_token_accuracy"].append((chosen.argmax(-1) == wanted).float().mean().item())
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        return loss
