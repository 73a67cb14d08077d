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
from distill.store import read_rows
from sft.callbacks import ProgressCallback, event_writer
from sft.encoder_base import load_encoder
from sft.pair_training import TokenCount, arguments, counting, trained
from sft.settings import SftSettings
from sft.targets import pair_target
from sft.tokens import MAX_LENGTH, TOO_LONG
from sft.train import note_left_out
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from datasets import Dataset
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
    pairs, rejected = _fitting(model, job, limit, bound)
    say = event_writer(job.get("events"))
    left_out = note_left_out(job, say, rejected, len(pairs) + len(rejected), limit, bound)
    relevant_share = sum(pair.relevant for pair in pairs) / max(1, len(pairs))
    progress = ProgressCallback(job, say, relevant_share, keep)
    tokens = TokenCount(model)
    trainer = counting(CrossEncoderTrainer, lambda: tokens.real)(
        model=model,
        args=arguments(CrossEncoderTrainingArguments, settings, job),
        train_dataset=_rows(pairs),
        loss=_loss(job, model),
        callbacks=[progress],
    )
    counts = trained(trainer, job, settings, progress, tokens)
    return {**counts, "examples": len(pairs), "rejected": len(rejected), "left_out": left_out}


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


def _rows(pairs: list[LabelledPair]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "query": [query_text(pair.query, pair.instruction) for pair in pairs],
            "passage": [pair.passage for pair in pairs],
            "label": [float(pair.relevant) for pair in pairs],
        }
    )


def _loss(job: TrainingJob, model: CrossEncoder) -> Any:
    from sentence_transformers.cross_encoder import losses

    target = pair_target(job["target"])
    assert target is not None
    return {"bce": losses.BinaryCrossEntropyLoss}[job.get("student", {}).get("loss") or target.losses[0]](model)
