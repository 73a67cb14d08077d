"""Training of a cross-encoder by sentence-transformers' CrossEncoderTrainer: the trainer of the target `encoder`.

The student's folder is a `CrossEncoder`'s own, so that `CrossEncoder(folder)` loads it and `predict` gives its logit.
Its activation is the identity: the usual sigmoid, where a loss is of scores, ruins a ranking (nDCG .59 to .14).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.prompts import query_text
from distill.records import LabelledPair
from distill.store import read_json, read_rows
from sft.callbacks import ProgressCallback, event_writer
from sft.encoder_base import load_encoder
from sft.encoder_rows import batch_of, labelled, loss_of, rows_for
from sft.pair_training import TokenCount, arguments, counting, losses_of, optimizer_of, trained
from sft.pair_validation import held_out, probabilities
from sft.settings import SftSettings
from sft.student_settings import StudentSettings
from sft.tokens import MAX_LENGTH, TOO_LONG
from sft.train import note_left_out
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

CHUNK = 1024  # pairs that are encoded together


def train(job: TrainingJob, keep: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Train the job's cross-encoder into `job["out"]`; returns what goes into metrics.json. See `sft.training_job`.

    Raises DataError where no pair is short enough, and as `sft.pair_training.trained` does.
    """
    import torch
    from datasets import disable_progress_bars
    from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from transformers.utils import logging

    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(job["threads"])
    settings = SftSettings.model_validate(job["settings"])
    model = load_encoder(job, settings)
    limit = min(settings.max_length, model.max_seq_length or settings.max_length)
    bound = MAX_LENGTH if limit == settings.max_length else "the encoder's positions,"
    own = StudentSettings.model_validate({"target": job["target"], **job.get("student", {})})
    loss = own.loss or losses_of(job["target"])[0]
    pairs, too_long = _fitting(model, job, limit, bound)
    scores = read_json(job["scores"]) if "scores" in job else None
    rows, without = labelled(pairs, own.labels or "verdict", settings.prompt, scores)
    dataset, alone = rows_for(loss, rows, job["seed"])
    rejected = [*too_long, *without, *alone]
    say = event_writer(job.get("events"))
    left_out = note_left_out(job, say, rejected, len(pairs) + len(too_long), limit, bound)
    relevant_share = sum(row.log_odds > 0 for row in rows) / max(1, len(rows))
    progress = ProgressCallback(job, say, relevant_share, keep)
    tokens = TokenCount(model)
    # Of several workers DDP looks for unused parameters in what a CrossEncoder returns, does not see its tensors there,
    # and takes all for unused; there are none.
    defaults = {**batch_of(loss), "ddp_find_unused_parameters": False}
    given = arguments(CrossEncoderTrainingArguments, settings, job, defaults)
    trainer = counting(CrossEncoderTrainer, lambda: tokens.real)(
        model=model,
        args=given,
        optimizers=(optimizer_of(settings, model[0].model, given), None),
        train_dataset=dataset,
        loss=loss_of(loss, model),
        evaluator=held_out(job, settings.dev, probabilities) if settings.dev is not None else None,
        callbacks=[progress],
    )
    counts = trained(trainer, job, settings, progress, tokens)
    examples = len(rows) - len(alone)
    return {**counts, "examples": examples, "rejected": len(rejected), "left_out": left_out}


def _fitting(
    model: CrossEncoder, job: TrainingJob, limit: int, bound: str
) -> tuple[list[LabelledPair], list[tuple[str, str]]]:
    """(the pairs that the encoder reads whole, [(pair_id, reason)] of the others)."""
    pairs: list[LabelledPair] = []
    rejected: list[tuple[str, str]] = []
    rows = read_rows(job["examples"], LabelledPair)
    while chunk := list(islice(rows, CHUNK)):
        queries = [query_text(pair.query, pair.instruction) for pair in chunk]
        encoded = model.tokenizer(queries, [pair.passage for pair in chunk])["input_ids"]
        for pair, ids in zip(chunk, encoded, strict=True):
            if len(ids) > limit:
                rejected.append((pair.pair_id, f"{len(ids)} {TOO_LONG.format(bound, limit)}"))
            else:
                pairs.append(pair)
    return pairs, rejected
