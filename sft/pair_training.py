"""What trainings through sentence-transformers share: arguments, rows, checkpoints, counts. Used by `sft.encoder`
and `sft.retriever.train`.

Loops, losses and collators are sentence-transformers' own. A killed training goes on from its newest whole checkpoint,
as those of `sft.train` do.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distill.errors import DataError, DistillError
from distill.store import write_json
from distill.tables import counted
from distill.weights import check_finite
from sft.settings import SftSettings
from sft.targets import pair_target, target_of
from sft.together import is_first
from sft.train import CPU_DEFAULTS, DEFAULTS, check_reporters, dev_arguments, dev_counts, last_checkpoint
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from sentence_transformers.base.training_args import BaseTrainingArguments

    from sft.callbacks import ProgressCallback
    from sft.muon import MuonAdamW

Arguments = TypeVar("Arguments", bound="BaseTrainingArguments")
WATCHED = ("report_to", "logging_", "save_")  # of sft.training: how a training is watched, and not what comes of it


def arguments(kind: type[Arguments], settings: SftSettings, job: TrainingJob, defaults: dict[str, int]) -> Arguments:
    """The trainer's arguments: this package's defaults, the target's, `defaults`, what the student's `training` says.

    Raises ConfigError for a missing tracker, TypeError for a name that only TRL knows.
    """
    import torch

    target = pair_target(job["target"])
    assert target is not None
    given: dict[str, Any] = {**DEFAULTS, **({} if torch.cuda.is_available() else CPU_DEFAULTS)}
    given |= {**target.training_of(job["base"]), **defaults}
    given |= {name: value for name, value in settings.training.items() if name.startswith(WATCHED)}
    given |= job.get("student", {}).get("training") or {}
    check_reporters(given["report_to"])
    given = {"run_name": job["name"], **given, **dev_arguments(settings.dev)}
    return kind(output_dir=f"{job['out']}/checkpoints", seed=job["seed"], data_seed=job["seed"], **given)


def optimizer_of(settings: SftSettings, model: Any, given: BaseTrainingArguments) -> MuonAdamW | None:
    """Muon where `sft.optimizer` says so, None for the trainer's own."""
    if settings.optimizer != "muon":
        return None
    from sft.muon import MuonAdamW

    betas = (given.adam_beta1, given.adam_beta2)
    return MuonAdamW(model, given.learning_rate, betas, given.adam_epsilon, given.weight_decay)


def losses_of(name: str) -> tuple[str, ...]:
    """The losses of a target whose students write nothing, the default first."""
    target = pair_target(name)
    return target.losses if target else ()


class TokenCount:
    """Tokens that a model has read in training, real ones and positions with padding: a hook of its forward pass."""

    def __init__(self, model: Any) -> None:
        self.real = self.positions = 0
        model.register_forward_pre_hook(self._count)

    def _count(self, model: Any, inputs: tuple[Any, ...]) -> None:
        if model.training:
            mask = inputs[0]["attention_mask"]
            self.real += int(mask.sum())
            self.positions += mask.numel()


def trained(
    trainer: Any,
    job: TrainingJob,
    settings: SftSettings,
    progress: ProgressCallback,
    tokens: TokenCount,
    finish: Callable[[Any], None] = lambda model: None,
) -> dict[str, Any]:
    """Train, let `finish` have the model, save it to the student's folder, and return the counts for metrics.json.

    Raises DistillError where the loss stops being a number, InputError where a weight does, DataError where the rows
    do not make one batch (a retriever's has no text twice).
    """
    from transformers import PrinterCallback

    out = Path(job["out"])
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(out / "checkpoints")
    outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not trainer.state.global_step:
        raise DataError(
            f"{job['name']}: its {counted(len(trainer.train_dataset), 'row')} make no batch of "
            f"{trainer.args.per_device_train_batch_size} (a retriever's has no passage twice); lower "
            "training.per_device_train_batch_size, or give it more queries and passages"
        )
    if not math.isfinite(outcome.training_loss):
        raise DistillError(f"{job['name']}: the loss is {outcome.training_loss}; lower its training.learning_rate")
    model = trainer.model
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    finish(model)
    check_finite(job["name"], model)
    if is_first():
        model.save_pretrained(str(out), create_model_card=False)
        target = target_of(job["target"])
        note = {"prompt": settings.prompt, "target": job["target"], "mode": target.mode, "kind": job["target"]}
        write_json(out / "distill.json", note)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    seconds = outcome.metrics["train_runtime"]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "target": job["target"],
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "seconds": round(seconds, 2),
        "tokens": tokens.real,
        "tokens_per_s": round(tokens.real / max(seconds, 1e-9), 1),
        "real_share": round(tokens.real / max(1, tokens.positions), 4),
        "final_loss": losses[-1] if losses else outcome.training_loss,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable": trainable,
        "resumed": checkpoint is not None,
        "warnings": progress.warnings,
        **dev_counts(settings.dev, trainer.state),
    }


def counting(kind: type[Any], tokens: Callable[[], int]) -> type[Any]:
    """A trainer of sentence-transformers that logs the tokens read, as TRL's do, and whose best checkpoint loads or
    ends the training: its own only logs that it does not."""

    class Counting(kind):  # type: ignore[misc]
        def log(self, logs: dict[str, float], *rest: Any, **more: Any) -> None:
            super().log({**logs, "num_tokens": tokens()} if "loss" in logs else logs, *rest, **more)

        def _load_best_model(self) -> None:
            self._load_from_checkpoint(self.state.best_model_checkpoint)

    return Counting
