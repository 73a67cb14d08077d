"""The training of one student after SFT, from its job to its folder. Called by `sft.train` for a job with `then`."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from distill import rewards
from distill.errors import ConfigError, DataError, DistillError
from distill.plugins import is_external, load_function, raised
from distill.prompts import PROMPTS, prompt_ids
from distill.records import Rollout
from distill.results import AFTER, AfterSft, as_json
from distill.store import read_json, read_rows, write_json
from distill.weights import bf16_pays, load_causal_lm
from sft.after.privileged import TEMPLATES
from sft.after.progress import AfterProgress, WellFormed
from sft.after.rollouts import Rollouts, histogram, means
from sft.after.settings import ThenSettings
from sft.after.tasks import Task, in_order
from sft.callbacks import event_writer
from sft.settings import SftSettings
from sft.student import load_base, load_tokenizer, lora_config, save
from sft.targets import writing_target
from sft.train import CPU_DEFAULTS, last_checkpoint, renamed
from sft.training_job import TrainingJob

SAVES = 10  # checkpoints in a training; two are kept


def train_after(job: TrainingJob) -> dict[str, Any]:
    """Train the student that the job describes, from the SFT student `job["base"]`, into `job["out"]`.

    Returns what goes into metrics.json. Resumes from the newest checkpoint there. Where too few of the answers are
    well-formed it ends early, with the weights of the last checkpoint before that. Raises DataError where no pair is
    left, ConfigError for a teacher that does not fit.
    """
    import torch
    from datasets import disable_progress_bars
    from transformers.utils import logging

    disable_progress_bars()
    logging.disable_progress_bar()
    settings = SftSettings.model_validate(job["settings"]).model_copy(update={"revision": None})
    then = ThenSettings.model_validate(job["then"])
    out = Path(job["out"])
    torch.set_num_threads(job["threads"])
    tokenizer = load_tokenizer(job["base"], settings)
    model, _ = load_base(job["base"], settings)
    longest = int((read_json(f"{job['base']}/distill.json") or {}).get("longest_trace") or settings.max_length)
    bound = then.max_new_tokens or longest
    rows, rejected = _fitting(tokenizer, list(read_rows(job["examples"], Task)), then, settings, bound, model.config)
    say = event_writer(job.get("events"))
    head = {"stage": "sft", "student": job["name"], "target": job["target"]}
    if rejected:
        say({**head, "step": 0, "note": f"{len(rejected):,} of the pairs are left out: {rejected[0][1]}"})
    write_json(out / "rejected.json", [{"pair_id": pair, "reason": reason} for pair, reason in rejected])
    if not rows:
        raise DataError(f"{job['examples']}: no pair is left to train {job['name']} on")
    spent = 0
    if then.select == "disagree":
        from sft.after.choice import disagreeing

        rows, spent = disagreeing(model, tokenizer, rows, then, settings.prompt, bound, job["seed"], out)
        say(
            {
                **head,
                "step": 0,
                "note": f"samples of {job['base']} disagree on {len(rows):,} pairs, which are trained on",
            }
        )
    ordered = in_order(rows, then.steps, then.prompts, then.per_query, job["seed"], settings.prompt)
    kept = Rollouts(out)
    checkpoint = last_checkpoint(out / "checkpoints")
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    kept.resume(done)
    if done:
        say({**head, "step": done, "note": f"goes on from step {done} of {then.steps}"})
    watch = WellFormed()
    for step in _by_step(kept):
        watch.see(means(step))
    progress = AfterProgress(head, say, kept, watch, then)
    teacher = same_vocabulary(then.teacher, model, tokenizer, settings) if then.teacher else None
    trainer = trainer_of(then, settings, job, model, tokenizer, ordered, bound, progress, teacher)
    outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not math.isfinite(outcome.training_loss):
        raise DistillError(f"{job['name']}: the loss is {outcome.training_loss}; lower then.learning_rate")
    seconds = progress.seconds()
    if watch.fallen:
        _back(trainer, out, watch.healthy, job, settings)
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    parameters = save(trainer, tokenizer, out, job["base"], settings.model_copy(update={"think_tokens": "text"}))
    kept.flush(trainer.state.global_step)
    by_step = _by_step(kept)
    generated = sum(row.tokens for step in by_step for row in step) + spent
    curve = [means(step) for step in by_step]
    few = max(1, len(by_step) // 10)
    summary = AfterSft(
        then.method,
        then.reward if then.method == "grpo" else {},
        [dict(point._asdict()) for point in curve],
        [list(point) for point in progress.losses],
        histogram([row for step in by_step[:few] for row in step]),
        histogram([row for step in by_step[-few:] for row in step]),
        [list(point) for point in progress.kl],
    )
    write_json(out / AFTER, as_json(summary))
    write_json(
        out / "distill.json",
        {
            "prompt": settings.prompt,
            "target": job["target"],
            "mode": writing_target(job["target"]).mode,
            "longest_trace": longest,
            "after": then.method,
            **({"length_budget": trainer.train_dataset[0]["length_budget"]} if then.method == "grpo" else {}),
        },
    )
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return {
        "target": job["target"],
        "method": then.method,
        "examples": len(rows),
        "rejected": len(rejected),
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 2),
        "generated_tokens": generated,
        "tokens": generated,
        "tokens_per_s": round(generated / max(seconds, 1e-9), 1),
        "final_loss": progress.losses[-1][1] if progress.losses else outcome.training_loss,
        "well_formed": round(curve[-1].well_formed, 4),
        "parameters": parameters,
        "trainable": trainable,
        "resumed": checkpoint is not None,
        "warnings": progress.warnings,
    }


def _by_step(kept: Rollouts) -> list[list[Rollout]]:
    steps: dict[int, list[Rollout]] = {}
    for row in kept.rows():
        steps.setdefault(row.step, []).append(row)
    return [steps[step] for step in sorted(steps)]


def _fitting(
    tokenizer: Any, rows: list[Task], then: ThenSettings, settings: SftSettings, bound: int, config: Any
) -> tuple[list[Task], list[tuple[str, str]]]:
    """(the tasks whose prompts fit as they are, [(pair_id, reason)] of the others): nothing is ever cut."""
    context = config.get_text_config().max_position_embeddings
    whole = prompt_ids(tokenizer, [row.prompt for row in rows])
    lengths = [len(ids) for ids in whole]
    if then.method == "self_distil":
        template = TEMPLATES[then.privileged]
        contexts = prompt_ids(tokenizer, [template.fill(row.grade, row.reasoning, settings.prompt) for row in rows])
        lengths = [own + len(more) for own, more in zip(lengths, contexts, strict=True)]
    good, bad = [], []
    for row, length in zip(rows, lengths, strict=True):
        if length + bound > context:
            bad.append((row.pair_id, f"{length} tokens and an answer of {bound} do not fit a context of {context}"))
        else:
            good.append(row)
    return good, bad


def _data(tokenizer: Any, rows: Sequence[Task], then: ThenSettings, prompt: str) -> Any:
    """The rows as TRL's data set. What the teaching side alone reads is in no column that the student's prompt is made
    of."""
    from datasets import Dataset

    words = list(PROMPTS[prompt].verdicts)
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows]
        for name in ("prompt", "pair_id", "query_id", "query", "passage", "instruction", "grade")
    }
    columns["label"] = [row.grade / (len(words) - 1) for row in rows]
    columns["words"] = [words] * len(rows)
    if then.method == "grpo":
        traces = [row.reasoning for row in rows if row.reasoning] or [""]
        mean = statistics.fmean(len(ids) for ids in tokenizer(traces)["input_ids"])
        columns["length_budget"] = [then.length_budget or round(mean + 4)] * len(rows)
    if then.method == "self_distil":
        template = TEMPLATES[then.privileged]
        columns["privileged_context"] = [template.fill(row.grade, row.reasoning, prompt) for row in rows]
    return Dataset.from_dict(columns)


def trainer_of(
    then: ThenSettings,
    settings: SftSettings,
    job: TrainingJob,
    model: Any,
    tokenizer: Any,
    rows: Sequence[Task],
    bound: int,
    progress: AfterProgress,
    teacher: Any,
) -> Any:
    """The trainer of a method, TRL's as `sft.after.trainers` has it: it answers `rows` in their order, each answer at
    most `bound` tokens long, and writes into `job["out"]`. `teacher` is the model of on_policy, else None."""
    from transformers import PrinterCallback

    from sft.after import trainers

    arguments = _arguments(then, settings, job, bound, bf16_pays(model.config))
    given: dict[str, Any] = {
        "model": model,
        "train_dataset": _data(tokenizer, rows, then, settings.prompt),
        "processing_class": tokenizer,
        "callbacks": [progress],
        "peft_config": lora_config(settings.lora, model, tags_added=False) if settings.lora else None,
    }
    trainer: Any
    config: Any
    if then.method == "grpo":
        from trl import GRPOConfig

        config = GRPOConfig(
            **arguments, num_generations=then.generations, reward_weights=[*then.reward.values()], beta=then.beta
        )
        functions: list[Any] = [reward_function(name) for name in then.reward]
        trainer = trainers.GrpoStudentTrainer(args=config, reward_funcs=functions, **given)
        names = [name.rpartition(":")[2] for name in then.reward]
        trainer.encode_rewards = lambda values: [
            json.dumps({n: None if math.isnan(v) else round(v, 5) for n, v in zip(names, row, strict=True)})
            for row in values
        ]
    elif then.method == "self_distil":
        from trl.experimental.sdft import SDFTConfig

        config = SDFTConfig(
            **arguments,
            num_generations=then.generations,
            max_prompt_length=None,  # else it cuts prompts from the left, and the query is lost
            teacher_model_kind=then.self_teacher,
            distillation_mode="full_logits",
        )
        trainer = trainers.SelfDistilTrainer(args=config, **given)
    else:
        from trl import DistillationConfig

        trainer = trainers.OnPolicyTrainer(args=DistillationConfig(**arguments), teacher_model=teacher, **given)
    trainer.observer = trainers.Observer(tokenizer, settings.prompt, then.batch or then.answers, progress.answers)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(then: ThenSettings, settings: SftSettings, job: TrainingJob, bound: int, bf16: bool) -> dict[str, Any]:
    """What all three of TRL's configurations share."""
    import torch
    from transformers import TrainingArguments

    on_gpu = torch.cuda.is_available()
    batch = then.batch or then.answers
    arguments = {
        "output_dir": str(Path(job["out"]) / "checkpoints"),
        "seed": job["seed"],
        "data_seed": job["seed"],
        "max_steps": then.steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": then.answers // batch,
        "learning_rate": then.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": max(1, then.steps // 20),
        "max_grad_norm": 1.0,
        "temperature": then.temperature,
        "max_completion_length": bound,
        "shuffle_dataset": False,  # `in_order` has drawn the order, a query's rows in one step
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, then.steps // SAVES),
        "save_total_limit": 2,
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": False,
        **({} if on_gpu else {**CPU_DEFAULTS, "bf16": bf16}),
        **({"use_vllm": True, "vllm_mode": "colocate"} if on_gpu and importlib.util.find_spec("vllm") else {}),
    }
    return renamed(arguments, TrainingArguments)


def reward_function(name: str) -> Callable[..., list[float | None]]:
    """The reward function of a name; of one's own, what it raises or returns wrongly becomes a PluginError.

    None for an answer means, as in TRL, that the reward does not apply to it.
    """
    from distill.errors import PluginError

    if not is_external(name):
        function: Callable[..., list[float | None]] = getattr(rewards, name)
        return function
    own = load_function("reward", name)

    @wraps(own)
    def checked(**columns: Any) -> list[float | None]:
        try:
            values = own(**columns)
        except Exception as error:
            raise raised(error, name) or error from None
        wanted = len(columns["completions"])
        numbers = isinstance(values, list) and all(
            v is None or (isinstance(v, int | float) and math.isfinite(v)) for v in values
        )
        if not numbers or len(values) != wanted:
            raise PluginError(
                f"{name}: returned {values!r:.80}; return a list of {wanted} numbers, one an answer "
                "(None where the reward does not apply to it)"
            )
        return [None if value is None else float(value) for value in values]

    return checked


def same_vocabulary(folder: str, model: Any, tokenizer: Any, settings: SftSettings) -> Any:
    """The teacher's model, with as many rows of the vocabulary as the student's.

    Rows beyond the tokenizer are padding, and are dropped. Raises ConfigError where the tokenizers differ, or the
    teacher has fewer rows.
    """
    theirs = load_tokenizer(folder, settings)
    if theirs.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(different_vocabulary(folder))
    teacher = load_causal_lm(folder, dtype=model.dtype)
    rows, own = teacher.config.get_text_config().vocab_size, model.config.get_text_config().vocab_size
    if rows < own:
        raise ConfigError(fewer_rows(folder, rows, own))
    if rows > own:
        teacher.resize_token_embeddings(own)
    return teacher


def fewer_rows(folder: str, rows: int, own: int) -> str:
    """What is said of a teacher with too small a vocabulary."""
    return f"then.teacher: {folder} has {rows:,} rows of vocabulary, fewer than the student's {own:,}; name another"


def different_vocabulary(folder: str) -> str:
    """What is said of a teacher that cannot teach token by token."""
    return (
        f"then.teacher: {folder} has another vocabulary than the student, and on_policy compares token by token; "
        "name a model of the student's family, or set method: self_distil, which works with every teacher's traces"
    )


def _back(trainer: Any, out: Path, healthy: int, job: TrainingJob, settings: SftSettings) -> None:
    """The weights of the last checkpoint up to step `healthy`; those of the SFT student where there is none."""
    saved = [int(path.name.rpartition("-")[2]) for path in (out / "checkpoints").glob("checkpoint-*")]
    usable = [step for step in saved if step <= healthy]
    if usable:
        trainer._load_from_checkpoint(str(out / "checkpoints" / f"checkpoint-{max(usable)}"))
    elif settings.lora is None:
        trainer.model.load_state_dict(load_base(job["base"], settings)[0].state_dict())
    else:
        raise DistillError(
            f"{job['name']}: its answers lost their form before the first checkpoint; lower then.learning_rate"
        )
