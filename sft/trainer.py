"""TRL's SFTTrainer, with the loss computed where the labels are, and an order of pairs that every target shares."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTConfig, SFTTrainer, pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from sft.encoded import labelled
from sft.validation import ValidationSet

ENCODED = ("input_ids", "prompt_tokens", "weight")  # what is read of an encoded row


class PairOrder(Sampler[int]):
    """A seeded shuffle, then rows of like length together within 32 batches, the batches shuffled again.

    `lengths` are the pairs', which all targets share, so `think` and `direct` students see the same pairs in the same
    order. Less padding is the gain: of Rank1's lengths, 97 % of positions are real in batches of 16, shuffled 52 %.
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
        order = array("l", range(len(self.lengths)))
        rng.shuffle(order)
        window = self.batch * 32
        for start in range(0, len(order), window):
            order[start : start + window] = array(
                "l", sorted(order[start : start + window], key=lambda i: self.lengths[i])
            )
        whole = array("l", range(len(order) // self.batch))
        rng.shuffle(whole)
        for number in [*whole, len(whole)]:  # last, what is left: a batch that is not full ends the epoch
            yield from order[number * self.batch : (number + 1) * self.batch]


@dataclass
class StudentCollator(DataCollatorForLanguageModeling):
    """TRL's collator, for rows with `prompt_tokens` in place of labels (`sft.encoded`), and for weights of tokens.

    `token_weights` are padded or joined as the tokens are.
    """

    weight_scale: float | None = None

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch as TRL makes it, and the weights with it."""
        if "prompt_tokens" in examples[0]:
            examples = [
                labelled(row["input_ids"], row["prompt_tokens"], row["weight"], self.weight_scale) for row in examples
            ]
        if "token_weights" not in examples[0]:
            return dict(super().torch_call(examples))
        weights = [torch.tensor(example.pop("token_weights")) for example in examples]
        batch: dict[str, Any] = super().torch_call(examples)
        if self.padding_free:
            weights = [torch.cat(weights)]
        batch["token_weights"] = torch.zeros(batch["input_ids"].shape)
        for row, values in zip(batch["token_weights"], weights, strict=True):
            row[: len(values)] = values
        return batch


class StudentTrainer(SFTTrainer):
    """SFTTrainer that, off the GPU, computes logits only where there are targets, and that knows weights and a dev set.

    TRL's fused head scores every position where there is no Triton. Padded rows are padded on the right and attention
    is causal, so the padding needs no mask and sdpa keeps its fast path. GPUs take TRL's own way.
    """

    args: SFTConfig

    def __init__(
        self,
        *args: Any,
        order_lengths: Sequence[int],
        weight_scale: float | None = None,
        muon: bool = False,
        dev: ValidationSet | None = None,
        **kwargs: Any,
    ) -> None:
        self.order_lengths, self.use_muon, self.dev = order_lengths, muon, dev
        self._real = self._computed = 0
        super().__init__(*args, **kwargs)
        if getattr(self.model, "is_loaded_in_4bit", False):
            _as_without_bits(self.model)
        if {"token_weights", "prompt_tokens"} & set(getattr(self.train_dataset, "column_names", ())):
            given: Any = self.data_collator
            self.data_collator = StudentCollator(
                given.pad_token_id,
                padding_free=given.padding_free,
                pad_to_multiple_of=given.pad_to_multiple_of,
                weight_scale=weight_scale,
            )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's own, or Muon where the settings say so."""
        if not self.use_muon or self.optimizer is not None:
            return super().create_optimizer(*args, **kwargs)
        from sft.muon import MuonAdamW

        given = self.args
        betas = (given.adam_beta1, given.adam_beta2)
        self.optimizer = MuonAdamW(self.model, given.learning_rate, betas, given.adam_epsilon, given.weight_decay)
        return self.optimizer

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        """TRL's, which drops any column of its own choosing when it packs: weights are packed here.

        Rows with `prompt_tokens` are ready: TRL would look at each of them whether it is too long.
        """
        if "prompt_tokens" in dataset.column_names:
            return dataset
        if packing and "token_weights" in dataset.column_names:
            return pack_dataset(dataset, args.max_length, args.packing_strategy)
        return super()._prepare_dataset(dataset, processing_class, args, packing, *rest)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        columns: list[str] = list(self._signature_columns or ())
        self._signature_columns: Any = [*dict.fromkeys([*columns, "token_weights", *ENCODED])]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.packing:
            return super()._get_train_sampler(train_dataset)
        shape = self.args.train_batch_size, self.args.gradient_accumulation_steps, self.args.world_size
        return PairOrder(self.order_lengths, math.prod(shape), self.args.data_seed or self.args.seed)

    def real_share(self) -> float:
        """Of the positions that this process computed, the share that were tokens and not padding or empty.

        In packed training a row that is not full is no work, but positions that were paid for: they count as empty.
        """
        return self._real / self._computed if self._computed else 1.0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """What the student does on the held-out pairs, as `eval_…`; TRL's own evaluation where there are none."""
        if self.dev is None:
            return dict(super().evaluate(*args, **kwargs))
        with self.autocast_smart_context_manager():
            measured = self.dev.measure(self.model)
        metrics = {f"eval_{key}": value for key, value in measured.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy over the completion tokens of the whole (accumulated) batch, weighted where asked."""
        weights = inputs.pop("token_weights", None)
        if model.training:
            self._count(inputs)
        labels = inputs["labels"]
        if labels.is_cuda or return_outputs:
            if weights is None:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[no-untyped-call]
            return self._fused(model, inputs, weights, num_items_in_batch)
        if self.args.packing:  # one row; documents are kept apart by their positions
            kept: Any = (labels[0, 1:] != -100).nonzero().flatten()
            given = {"position_ids": inputs["position_ids"]}
            wanted = labels[0, 1:][kept]
            logits = model(input_ids=inputs["input_ids"], logits_to_keep=kept, use_cache=False, **given).logits[0]
            weight = None if weights is None else weights[0, 1:][kept]
        else:
            first = int((labels != -100).int().argmax(dim=1).min())
            keep = labels.shape[1] - first + 1
            mask = labels[:, first:] != -100
            wanted = labels[:, first:][mask]
            logits = model(input_ids=inputs["input_ids"], logits_to_keep=keep, use_cache=False).logits[:, :-1][mask]
            weight = None if weights is None else weights[:, first:][mask]
        count = wanted.numel() if num_items_in_batch is None else num_items_in_batch
        if weight is None:
            total = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
        else:
            total = (torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none") * weight).sum()
        with torch.no_grad():
            self._note((logits.argmax(-1) == wanted).float().mean().item(), model.training, inputs)
        return self._shared(total / count, num_items_in_batch)

    def _fused(
        self, model: Any, inputs: dict[str, Any], weights: torch.Tensor, num_items_in_batch: Any
    ) -> torch.Tensor:
        """With weights on a GPU: TRL's fused head gives the log-probability of every target."""
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        count = outputs.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
        scored = outputs.label_mask.sum().clamp(min=1)
        self._note((outputs.is_top1.sum() / scored).item(), model.training, inputs)
        loss: torch.Tensor = -(outputs.log_probs * weights[:, 1:]).sum() / count
        return self._shared(loss, num_items_in_batch)

    def _shared(self, loss: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """DDP averages gradients over workers; the count is of all their tokens."""
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss

    def _note(self, accuracy: float, training: bool, inputs: dict[str, Any]) -> None:
        mode = "train" if training else "eval"
        self._metrics[mode]["mean_token_accuracy"].append(accuracy)
        if training:
            tokens = torch.tensor(self._tokens(inputs), device=inputs["input_ids"].device)
            self._total_train_tokens += int(self.accelerator.gather(tokens).sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    @staticmethod
    def _tokens(inputs: dict[str, Any]) -> int:
        mask = inputs.get("attention_mask")
        return int(inputs["input_ids"].numel() if mask is None else mask.sum())

    def _count(self, inputs: dict[str, Any]) -> None:
        """Room is what the batch computes; packed, rows of max_length each."""
        self._real += self._tokens(inputs)
        if self.args.packing:
            self._computed += self.args.per_device_train_batch_size * int(self.args.max_length or 0)
        else:
            self._computed += inputs["input_ids"].numel()


def _as_without_bits(model: Any) -> None:
    """Trained weights over a 4-bit base in the types that they have over a whole one; TRL makes them all bf16.

    In bf16 an update smaller than a 256th of its weight is lost, and without autocast nothing else multiplies with it.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32 if "lora_" in name else model.dtype)
