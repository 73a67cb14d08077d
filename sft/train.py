"""The training of one student, from its job to its folder. Called by the training process and by Ray's workers."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from array import array
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import ConfigError, DataError, DistillError
from distill.records import Pair
from distill.store import read_json, read_rows, write_json
from distill.weights import bf16_pays, is_wide
from sft.encoded import EncodedRows, encoded_rows, labelled_rows, remove
from sft.examples import lengths_of
from sft.settings import DevSettings, SftSettings
from sft.student import load_base, lora_config, save
from sft.targets import target_of
from sft.together import COMPLETE, is_first, of_all_workers
from sft.tokens import MANY_LEFT_OUT, MAX_LENGTH, left_out_text
from sft.training_job import TrainingJob
from sft.validation import MEASURES

if TYPE_CHECKING:
    from trl import SFTConfig

# What the trainer does where the configuration says nothing: TRL's own defaults, except where a reason is given.
DEFAULTS: dict[str, Any] = {
    "logging_steps": 10,
    "logging_first_step": True,  # a sign of life, and of the speed, where ten steps take a quarter of an hour
    "report_to": "none",
    "save_strategy": "steps",
    "save_steps": 0.2,  # five checkpoints a run: a killed run loses at most a fifth
    "save_total_limit": 2,  # the newest may be half written when the process is killed; then the one before it counts
    "disable_tqdm": True,
    "logging_nan_inf_filter": False,  # a loss that is no number must be seen, not averaged away
    "lr_scheduler_type": "cosine",  # Rank1
    "warmup_steps": 0.05,  # Rank1; a share where below 1
    "dataloader_pin_memory": False,
}
# A CPU has memory to spare; bf16 where `bf16_pays` says so (docs/speed.md).
CPU_DEFAULTS: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}


def train(job: TrainingJob, keep: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Train the student that the job describes, into `job["out"]`; returns what goes into metrics.json.

    `keep` is given each checkpoint once it is whole.

    Resumes from the newest checkpoint there. Raises DataError where nothing is left to train on, DistillError where
    the loss stops being a number or grows beyond where it began. On several workers each calls it, and the first saves.
    """
    import torch
    from datasets import disable_progress_bars
    from transformers.utils import logging

    from sft.callbacks import ProgressCallback, event_writer

    disable_progress_bars()
    logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    settings = SftSettings.model_validate(job["settings"])
    out = Path(job["out"])
    model, tokenizer = load_base(job["base"], settings)
    encoded = encoded_rows(tokenizer, job["examples"], out, settings.max_length, settings.prompt)
    rejected = encoded.rejected
    say = event_writer(job.get("events"))
    left_out = note_left_out(job, say, rejected, encoded.total, settings.max_length)
    bf16 = bf16_pays(model.config)
    config = training_arguments(settings, out, job["name"], job["seed"], job.get("training"), bf16)
    if config.bf16 and config.use_cpu and not bf16 and is_wide(model.config):
        note = "sft.training.bf16 is true, and this CPU computes faster in float32; leave it out"
        say({"stage": "sft", "student": job["name"], "target": job["target"], "step": 0, "note": note})
    progress = ProgressCallback(job, say, encoded.relevant_share, keep)
    trainer = _trainer(job, settings, config, model, tokenizer, encoded, progress)
    if settings.ray is not None and settings.ray.shard and not trainer.is_fsdp_enabled:
        raise ConfigError("sft.ray.shard: weights are split over several GPUs, and here are none; leave shard out")
    checkpoint = last_checkpoint(out / "checkpoints")
    begins = of_all_workers(checkpoint.name if checkpoint else "the start")
    if len({*begins}) > 1:  # they would wait for one another for ever
        raise RuntimeError(f"{job['name']}: the workers would go on from different checkpoints ({', '.join(begins)})")
    outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not math.isfinite(outcome.training_loss):
        raise DistillError(f"{job['name']}: the loss is {outcome.training_loss}; lower sft.training.learning_rate")
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    parameters = save(trainer, tokenizer, out, job["base"], settings)
    if is_first():
        write_json(
            out / "distill.json",
            {
                "prompt": settings.prompt,
                "target": job["target"],
                "mode": target_of(job["target"]).mode,
                **_longest(job, encoded),
            },
        )
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        remove(out)
    seconds = outcome.metrics["train_runtime"]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    counts = {
        "target": job["target"],
        "examples": len(encoded.dataset),
        "rejected": len(rejected),
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "seconds": round(seconds, 2),
        "tokens": trainer._total_train_tokens,
        "tokens_per_s": round(trainer._total_train_tokens / max(seconds, 1e-9), 1),
        "real_share": round(trainer.real_share(), 4),
        "final_loss": losses[-1] if losses else outcome.training_loss,
        "parameters": parameters,
        "trainable": trainable,
        "encoded_per_s": round(encoded.total / max(encoded.seconds, 1e-9)),
        "resumed": checkpoint is not None,
        "left_out": left_out,
        "warnings": progress.warnings,
    }
    return counts | dev_counts(settings.dev, trainer.state)


def note_left_out(
    job: TrainingJob,
    say: Callable[[dict[str, Any]], None],
    rejected: Sequence[tuple[str, str]],
    total: int,
    max_length: int,
    bound: str = MAX_LENGTH,
) -> str | None:
    """Write rejected.json of [(pair_id, reason)], and say how many of `total` rows are left out; returns that text.
    `bound` is what allows `max_length` tokens.

    Raises DataError where none is left.
    """
    left_out = left_out_text(rejected, total, max_length, bound)
    if is_first():
        write_json(Path(job["out"]) / "rejected.json", [{"pair_id": p, "reason": r} for p, r in rejected])
        if left_out:
            kind = "warning" if len(rejected) > MANY_LEFT_OUT * total else "note"  # as the terminal shows it
            say({"stage": "sft", "student": job["name"], "target": job["target"], "step": 0, kind: left_out})
    if len(rejected) == total:
        reason = f"; the first was left out because {rejected[0][1]}" if rejected else ""
        raise DataError(f"{job['examples']}: no example is left to train {job['name']} on{reason}")
    return left_out


def dev_arguments(dev: DevSettings | None) -> dict[str, Any]:
    """A trainer's arguments by which it looks at held-out pairs and keeps the best checkpoint; {} without them."""
    if dev is None:
        return {}
    every = min(dev.every, 0.99999)  # 1 would be every step; a share just below it is the last one
    return {
        "eval_strategy": "steps", "eval_steps": every, "save_strategy": "steps", "save_steps": every,
        "load_best_model_at_end": True, "metric_for_best_model": f"eval_{dev.best_by}", "greater_is_better": True,
    }  # fmt: skip


def dev_counts(dev: DevSettings | None, state: Any) -> dict[str, Any]:
    """What the held-out pairs said of the checkpoint that was kept, and which one that is; {} without them."""
    if dev is None:
        return {}
    measured = [entry for entry in state.log_history if "eval_spread" in entry]
    best = state.best_global_step
    chosen = next((entry for entry in measured if entry["step"] == best), measured[-1] if measured else {})
    return {
        "dev": {key: chosen[f"eval_{key}"] for key in MEASURES if f"eval_{key}" in chosen},
        "best_step": best,
    }


def _longest(job: TrainingJob, encoded: EncodedRows) -> dict[str, int]:
    """`longest_trace`: tokens of the longest completion with a reasoning that was trained on, by which students'
    reasoning is bounded where nothing else is asked for; {} for a target without reasoning."""
    if not any(target_of(job["target"]).rows_with_reasoning()):
        return {}
    return {"longest_trace": int((encoded.lengths() - encoded.prompt_tokens()).max())}


def training_arguments(
    settings: SftSettings,
    out: Path,
    name: str,
    seed: int,
    training: dict[str, Any] | None = None,
    bf16: bool = False,
) -> SFTConfig:
    """TRL's configuration of the student `name`, `training` on top; `bf16` is what a CPU does where nothing is said.

    Raises ConfigError for a missing tracker.
    """
    import torch
    from trl import SFTConfig

    arguments = {
        **DEFAULTS,
        **({} if torch.cuda.is_available() else {**CPU_DEFAULTS, "bf16": bf16}),
        **settings.training,
        **(training or {}),
    }
    arguments.pop("model_init_kwargs", None)
    check_reporters(arguments["report_to"])
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out / "tensorboard"))  # else it goes with the checkpoints
    os.environ.setdefault("WANDB_DIR", str(out))  # else into the folder that the command was called in
    arguments.setdefault("run_name", name)
    arguments |= dev_arguments(settings.dev)
    if settings.dev is not None:
        arguments["eval_packing"] = False
    if settings.ray is not None and settings.ray.shard:
        arguments |= {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"}}
    arguments = renamed(arguments, SFTConfig)
    return SFTConfig(
        output_dir=str(out / "checkpoints"),
        max_length=settings.pack_length or settings.max_length,
        seed=seed,
        data_seed=seed,
        remove_unused_columns=True,
        **arguments,
    )


def renamed(arguments: dict[str, Any], config: Any) -> dict[str, Any]:
    """The arguments of one of TRL's configurations in the names of the transformers that is installed."""
    new, old = "activation_checkpointing", "gradient_checkpointing"  # transformers' name since 5.22, and before
    if old in arguments and new in {field.name for field in fields(config)}:
        return {new: arguments[old], **{name: value for name, value in arguments.items() if name != old}}
    return arguments


def check_reporters(named: Any) -> None:
    """Raises ConfigError for a tracker that is not installed; transformers would end in a traceback."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    modules = {"tensorboard": ("tensorboard", "tensorboardX"), "azure_ml": ("azureml",), "flyte": ("flytekit",)}
    for name in [named] if isinstance(named, str) else list(named or ()):
        wanted = modules.get(name, (name,))
        if name in INTEGRATION_TO_CALLBACK and not any(importlib.util.find_spec(module) for module in wanted):
            raise ConfigError(f"sft.training.report_to: {name} is not installed; pip install {wanted[0]}")


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that a kill cut short has no mark and is removed."""

    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / COMPLETE).exists():
            whole.append(checkpoint)
        elif is_first():
            shutil.rmtree(checkpoint)
    newest = max(whole, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)
    if newest is not None:
        _name_best(newest)
    return newest


def _name_best(checkpoint: Path) -> None:
    """Let a checkpoint name the best one where it lies now: it may come from another folder, or another node."""
    state = read_json(checkpoint / "trainer_state.json") or {}
    best = state.get("best_model_checkpoint")
    if best and Path(best).parent != checkpoint.parent:
        state["best_model_checkpoint"] = str(checkpoint.parent / Path(best).name)
        write_json(checkpoint / "trainer_state.json", state)


def _trainer(
    job: TrainingJob,
    settings: SftSettings,
    config: Any,
    model: Any,
    tokenizer: Any,
    encoded: EncodedRows,
    progress: Any,
) -> Any:
    from transformers import PrinterCallback

    from sft.trainer import StudentTrainer
    from sft.validation import ValidationSet

    scale = encoded.weight_scale()
    rows = labelled_rows(encoded.dataset, scale) if config.packing else encoded.dataset
    dev = None
    if settings.dev is not None:
        held_out = list(read_rows(job["dev"], Pair))
        dev = ValidationSet(tokenizer, held_out, settings.dev, settings.prompt, target_of(job["target"]).mode)
    trainer = StudentTrainer(
        model=model,
        args=config,
        train_dataset=rows,
        eval_dataset=rows.select([0]) if dev is not None else None,  # the trainer wants one; `dev` is what is measured
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, model, settings.think_tokens == "added") if settings.lora else None,
        callbacks=[progress],
        order_lengths=_order(job, settings, encoded),
        weight_scale=scale,
        muon=settings.optimizer == "muon",
        dev=dev,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _order(job: TrainingJob, settings: SftSettings, encoded: EncodedRows) -> array[int]:
    """The lengths by which rows are put into batches; the pairs' own, which all targets share, where they are known."""
    if settings.order_by == "prompt":
        return array("l", encoded.prompt_tokens().tolist())
    one_row = len(target_of(job["target"]).rows_with_reasoning()) == 1
    if not (one_row and job.get("lengths") and Path(job["lengths"]).exists()):
        return array("l", encoded.lengths().tolist())
    return array("l", lengths_of(Path(job["lengths"]), encoded.pair_ids()))
