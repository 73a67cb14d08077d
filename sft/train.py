"""One student's training, as a process of its own: `python -m sft.train`, a job's file named on standard input.

A process of its own, since two students then train side by side on one thread each, a crash of one leaves the other,
and the memory goes back to the machine. Everything it needs is in the job; what it did is in `result.json`.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from distill.errors import DataError, DistillError
from distill.processes import die_with_parent
from distill.records import Example
from distill.store import read_rows, write_json
from sft.settings import SftSettings
from sft.student import load_base, lora_config, save
from sft.tokens import Encoded, encode

COMPLETE = "complete"  # the file that is written last into a checkpoint
# What the trainer does where the configuration says nothing. Sources: TRL's own defaults, save where a reason stands.
DEFAULTS: dict[str, Any] = {
    "logging_steps": 10,
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
# A CPU has no fast bf16 matmul to win and memory to spare (STACK measurements in docs/speed.md).
CPU_DEFAULTS: dict[str, Any] = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train the student that the job describes, into `job["out"]`; returns what goes into metrics.json.

    Resumes from the newest checkpoint there. Raises DataError where nothing is left to train on, DistillError where
    the loss stops being a number.
    """
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers.utils import logging
    from trl import SFTConfig

    disable_progress_bars()
    logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    settings = SftSettings.model_validate(job["settings"])
    out = Path(job["out"])
    started = time.monotonic()
    model, tokenizer = load_base(job["base"], settings)
    rows = list(read_rows(job["examples"], Example))
    encoded, rejected = encode(tokenizer, rows, settings.max_length)
    write_json(out / "rejected.json", [{"pair_id": p, "reason": r} for p, r in rejected])
    if not encoded:
        reason = f"; the first was put out because {rejected[0][1]}" if rejected else ""
        raise DataError(f"{job['examples']}: no example is left to train {job['name']} on{reason}")
    arguments = {
        **DEFAULTS,
        **({} if torch.cuda.is_available() else CPU_DEFAULTS),
        **settings.training,
        **job.get("training", {}),
    }
    arguments.pop("model_init_kwargs", None)
    config = SFTConfig(
        output_dir=str(out / "checkpoints"),
        max_length=settings.max_length,
        seed=job["seed"],
        data_seed=job["seed"],
        remove_unused_columns=True,
        **arguments,
    )
    trainer = _trainer(job, settings, config, model, tokenizer, encoded, Dataset, started)
    checkpoint = last_checkpoint(out / "checkpoints")
    outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not math.isfinite(outcome.training_loss):
        raise DistillError(f"{job['name']}: the loss is {outcome.training_loss}; lower sft.training.learning_rate")
    parameters = sum(p.numel() for p in trainer.model.parameters())
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    save(trainer.model, tokenizer, out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    seconds = outcome.metrics["train_runtime"]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "target": job["target"],
        "examples": len(encoded),
        "rejected": len(rejected),
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0, 3),
        "seconds": round(seconds, 2),
        "tokens": trainer._total_train_tokens,
        "tokens_per_s": round(trainer._total_train_tokens / max(seconds, 1e-9), 1),
        "final_loss": losses[-1] if losses else outcome.training_loss,
        "parameters": parameters,
        "trainable": trainable,
        "resumed": checkpoint is not None,
    }


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one that a kill cut short has no `COMPLETE` and is removed."""
    whole = []
    for each in folder.glob("checkpoint-*"):
        if (each / COMPLETE).exists():
            whole.append(each)
        else:
            shutil.rmtree(each)
    return max(whole, key=lambda each: int(each.name.rpartition("-")[2]), default=None)


def _trainer(
    job: dict[str, Any],
    settings: SftSettings,
    config: Any,
    model: Any,
    tokenizer: Any,
    encoded: list[Encoded],
    dataset_class: Any,
    started: float,
) -> Any:
    from transformers import PrinterCallback, TrainerCallback

    from sft.trainer import StudentTrainer

    class Log(TrainerCallback):
        """Training lines for log.jsonl, a mark on whole checkpoints, an end to a run whose loss is no number."""

        def __init__(self) -> None:
            self.tokens, self.at = 0, time.monotonic()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            now, tokens = time.monotonic(), int(logs.get("num_tokens", 0))
            line = {
                "stage": "sft",
                "student": job["name"],
                "target": job["target"],
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": logs["loss"],
                "learning_rate": logs.get("learning_rate"),
                "token_accuracy": logs.get("mean_token_accuracy"),
                "tokens_per_s": round((tokens - self.tokens) / max(now - self.at, 1e-9), 1),
                "seconds": round(now - started, 2),
            }
            self.tokens, self.at = tokens, now
            print(json.dumps(line), flush=True)
            if not math.isfinite(float(logs["loss"])):
                raise DistillError(
                    f"{job['name']}: the loss is {logs['loss']} at step {state.global_step}; "
                    "lower sft.training.learning_rate, or look for broken rows in the dataset"
                )

    rows = dataset_class.from_dict({"input_ids": [e.input_ids for e in encoded], "labels": [e.labels for e in encoded]})
    lora = lora_config(settings.lora, model, settings.think_tokens == "added") if settings.lora else None
    trainer = StudentTrainer(
        model=model,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[Log()],
        order_lengths=[e.prompt_tokens for e in encoded],
        muon=settings.optimizer == "muon",
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main() -> int:
    """Do the job whose file is named on standard input; a fault that the user can mend goes to `result.json`.

    The imports, some eight seconds, are made before the job is known: the parent prepares it meanwhile.
    """
    die_with_parent()
    import sft.trainer  # noqa: F401

    path = sys.stdin.readline().strip()
    if not path:
        return 0
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    result = Path(job["out"]) / "result.json"
    try:
        write_json(result, train(job))
    except DistillError as error:
        write_json(result, {"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
