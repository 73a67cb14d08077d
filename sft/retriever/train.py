"""The training of a retriever by sentence-transformers' trainer: the trainer of the target `retriever`.

The student's folder is a `SentenceTransformer`'s own, with its pooling and prompts, an adapter merged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import DataError
from distill.records import LabelledPair
from distill.store import read_json, read_rows
from distill.tables import counted_phrase
from sft.callbacks import ProgressCallback, event_writer
from sft.encoder_base import make_scratch_encoder
from sft.encoder_rows import labelled, rows_for
from sft.pair_training import TokenCount, arguments, counting, optimizer_of, trained
from sft.pair_validation import held_out, similarities
from sft.retriever.model import add_lora, load_retriever, load_weights, merge_lora
from sft.retriever.rows import RetrieverRows, Row
from sft.settings import SftSettings
from sft.student_settings import RetrieverSettings
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from torch import nn

QUERY, POSITIVE, NEGATIVE = "query", "positive", "negative"


def train(job: TrainingJob, keep: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Train the job's bi-encoder into `job["out"]`; returns what goes into metrics.json. See `sft.training_job`.

    Raises DataError where there are fewer than two rows to learn from, and as `sft.pair_training.trained` does.
    """
    import torch
    from datasets import disable_progress_bars
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from transformers import set_seed
    from transformers.utils import logging

    disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(job["threads"])
    settings = SftSettings.model_validate(job["settings"])
    own = RetrieverSettings.model_validate(job.get("student", {}).get("retriever") or {})
    made = _scored(job, settings) if "scores" in job else _judged(job, own)
    say = event_writer(job.get("events"))
    if left_out := made.counts["left_out"]:
        say(
            {
                "stage": "sft",
                "student": job["name"],
                "target": job["target"],
                "step": 0,
                "note": f"{left_out}, left out",
            }
        )
    set_seed(job["seed"])  # of an adapter's weights
    model = _model(job, settings, own)
    if own.lora is not None:
        add_lora(model, own.lora)
    dataset = made.dataset
    tokens = TokenCount(model)
    progress = ProgressCallback(job, say, 1.0, keep)
    given = arguments(SentenceTransformerTrainingArguments, settings, job, {})
    if "scores" not in job:
        given.batch_sampler = BatchSamplers.NO_DUPLICATES  # a passage twice in a batch would be its own negative
    given.prompts = _prompts(model, dataset)

    class Trainer(counting(SentenceTransformerTrainer, lambda: tokens.real)):  # type: ignore[misc]
        def _load_from_checkpoint(self, checkpoint_path: str) -> None:  # sentence-transformers' drops an adapter
            load_weights(self.model, Path(checkpoint_path))

    trainer = Trainer(
        model=model,
        args=given,
        optimizers=(optimizer_of(settings, model.transformers_model, given) if own.lora is None else None, None),
        train_dataset=dataset,
        loss=margin_loss_of(model, own) if "scores" in job else loss_of(model, own),
        evaluator=held_out(job, settings.dev, similarities) if settings.dev is not None else None,
        callbacks=[progress],
    )
    counts = trained(trainer, job, settings, progress, tokens, merge_lora if own.lora else lambda model: None)
    return {**counts, "examples": len(dataset), **made.counts}


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that a loss reads, and what metrics.json says of them."""

    dataset: Dataset
    counts: dict[str, Any]


def _judged(job: TrainingJob, own: RetrieverSettings) -> _Rows:
    """The rows of `infonce`: relevant passages with others that are not. Raises DataError for fewer than two."""
    made = RetrieverRows(
        read_rows(job["examples"], LabelledPair), own.negatives, job["seed"], own.instruction_negatives
    )
    rows = list(made)
    if len(rows) < 2:
        few = counted_phrase(len(rows), "queries with a relevant passage")
        raise DataError(f"{job['examples']}: {few}; {job['name']} needs 2 or more to be trained")
    dataset, without = dataset_of(rows, own.negatives), made.without_positive
    counts = {
        "rejected": 0,
        "left_out": counted_phrase(without, "queries without a relevant passage") if without else "",
        "negatives": len(dataset.column_names) - 2,
        "instruction_negatives": sum(row.of_instruction for row in rows),
        "drawn_negatives": sum(row.drawn for row in rows),
    }
    return _Rows(dataset, counts)


def _scored(job: TrainingJob, settings: SftSettings) -> _Rows:
    """The rows of `margin_mse`: two passages of a query, and by how much the reranker's log-odds of them differ.

    They are an encoder's rows of that loss (`sft.encoder_rows`). Raises DataError for fewer than two.
    """
    pairs = read_rows(job["examples"], LabelledPair)
    rows, without = labelled(pairs, "verdict", settings.prompt, read_json(job["scores"]) or {})
    dataset, alone = rows_for("margin_mse", rows, job["seed"])
    if len(dataset) < 2:
        few = counted_phrase(len(dataset), "pairs of passages of one query that have scores")
        raise DataError(f"{job['examples']}: {few}; {job['name']} needs 2 or more to be trained")
    rejected = [*without, *alone]
    left_out = f"{counted_phrase(len(rejected), 'pairs')}: {rejected[0][1]}" if rejected else ""
    return _Rows(dataset, {"rejected": len(rejected), "left_out": left_out})


def _model(job: TrainingJob, settings: SftSettings, own: RetrieverSettings) -> SentenceTransformer:
    """The job's base, or a small BERT of random weights whose tokenizer is trained on the rows' texts."""
    key = f"sft.targets: base of {job['name']}"
    if job["base"] != "scratch":
        return load_retriever(job["base"], own, key)
    with tempfile.TemporaryDirectory(prefix="distill-retriever-") as folder:
        texts = (
            f"{pair.query} {pair.instruction or ''} {pair.passage}" for pair in read_rows(job["examples"], LabelledPair)
        )
        make_scratch_encoder(texts, settings.scratch.model_copy(update={"seed": job["seed"]}), folder)
        return load_retriever(folder, own, key)


def dataset_of(rows: Sequence[Row], negatives: int) -> Dataset:
    """The columns query, positive, negative_1 and so on: as many of `negatives` as every row has."""
    from datasets import Dataset

    count = min(negatives, *(len(row.negatives) for row in rows))
    columns = {QUERY: [row.query for row in rows], POSITIVE: [row.positive for row in rows]}
    for number in range(count):
        columns[f"{NEGATIVE}_{number + 1}"] = [row.negatives[number] for row in rows]
    return Dataset.from_dict(columns)


def loss_of(model: SentenceTransformer, settings: RetrieverSettings) -> nn.Module:
    """InfoNCE over the model's own similarity; with `cached` by GradCache, for batches that memory does not hold."""
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.util import cos_sim, dot_score

    similarity = dot_score if model.similarity_fn_name == "dot" else cos_sim
    scale = 1 / settings.temperature
    if settings.cached is not None:
        return losses.CachedMultipleNegativesRankingLoss(model, scale, similarity, mini_batch_size=settings.cached)
    return losses.MultipleNegativesRankingLoss(model, scale, similarity)


def margin_loss_of(model: SentenceTransformer, settings: RetrieverSettings) -> nn.Module:
    """MarginMSE of the similarity divided by the temperature: a cosine's margin is 2 at most, that of log-odds not."""
    from sentence_transformers.sentence_transformer import losses
    from torch import Tensor

    def similarity(one: Tensor, other: Tensor) -> Tensor:
        return model.similarity_pairwise(one, other) / settings.temperature  # type: ignore[no-any-return, unused-ignore]

    return losses.MarginMSELoss(model, similarity)


def _prompts(model: SentenceTransformer, dataset: Dataset) -> dict[str, str] | None:
    """The model's own prompts by column, so that it is trained as it is asked."""
    prompts = {name: text for name, text in model.prompts.items() if text}
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    columns: list[str] = dataset.column_names
    named = {name: prompts.get("query", "") if name == QUERY else passage for name in columns if name != "label"}
    return named if any(named.values()) else None
